//! The window as a VMM has it, which fails an input when it is asked for what would hurt it.

use std::collections::BTreeMap;
use std::io::{Error, ErrorKind};
use std::os::fd::BorrowedFd;

use coherd::vhost_user::back_channel::BackChannelError;
use rustix::fs::{SeekFrom, seek};

/// Bytes of a page.
pub const PAGE: u64 = 4096;
/// Bytes of the window.
pub const WINDOW: u64 = 32 * PAGE;

/// A request with this fate is refused.
const REFUSED: u8 = 254;
/// A request with this fate ends the back channel.
const BROKEN: u8 = 255;

/// How a VMM treats its window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// A reset unmaps everything; a refusal is harmless.
    Qemu,
    /// Mappings survive a reset; a refusal ends the VM.
    Crosvm,
}

/// See the module's description.
#[derive(Debug)]
pub struct VmmWindow {
    flavour: Flavour,
    /// Length by offset.
    mappings: BTreeMap<u64, u64>,
    broken: bool,
}

impl VmmWindow {
    /// An empty window.
    pub fn new(flavour: Flavour) -> Self {
        Self {
            flavour,
            mappings: BTreeMap::new(),
            broken: false,
        }
    }

    /// SHMEM_MAP of `[fd_offset, shm_offset, len]`.
    ///
    /// # Errors
    /// What `fate` says.
    pub fn map(
        &mut self,
        fd: BorrowedFd<'_>,
        numbers: [u64; 3],
        fate: u8,
    ) -> Result<(), BackChannelError> {
        self.take(fate)?;
        assert!(
            numbers.iter().all(|number| number.is_multiple_of(PAGE)),
            "{numbers:#x?} are not aligned"
        );
        let [fd_offset, shm_offset, len] = numbers;
        let end = shm_offset.checked_add(len).expect("no overflow");
        assert!(len > 0 && end <= WINDOW, "map outside the window");
        let overlap = self
            .mappings
            .range(..end)
            .next_back()
            .filter(|(start, len)| *start + *len > shm_offset);
        assert_eq!(overlap, None, "map over a mapping");
        let file = seek(fd, SeekFrom::End(0)).expect("a file with a size");
        assert!(fd_offset + len <= file, "map past the end of the file");
        self.mappings.insert(shm_offset, len);
        Ok(())
    }

    /// SHMEM_UNMAP.
    ///
    /// # Errors
    /// What `fate` says.
    pub fn unmap(&mut self, shm_offset: u64, len: u64, fate: u8) -> Result<(), BackChannelError> {
        self.take(fate)?;
        let removed = self.mappings.remove(&shm_offset);
        assert_eq!(removed, Some(len), "unmap of what is not mapped");
        Ok(())
    }

    /// The device is reset.
    pub fn reset(&mut self) {
        if self.unmaps_on_reset() {
            self.mappings.clear();
        }
    }

    /// Whether a reset removes every mapping.
    pub fn unmaps_on_reset(&self) -> bool {
        self.flavour == Flavour::Qemu
    }

    /// Number of mappings.
    pub fn len(&self) -> usize {
        self.mappings.len()
    }

    /// Whether nothing is mapped.
    pub fn is_empty(&self) -> bool {
        self.mappings.is_empty()
    }

    /// Whether the mapping of `len` bytes at `offset` is there.
    pub fn has(&self, offset: u64, len: u64) -> bool {
        self.mappings.get(&offset) == Some(&len)
    }

    fn take(&mut self, fate: u8) -> Result<(), BackChannelError> {
        self.broken |= fate == BROKEN;
        if self.broken {
            return Err(Error::from(ErrorKind::BrokenPipe).into());
        }
        if fate == REFUSED {
            self.broken = self.flavour == Flavour::Crosvm;
            return Err(BackChannelError::Refused(1));
        }
        Ok(())
    }
}
