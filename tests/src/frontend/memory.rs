//! Guest RAM in memfds, and the memory table that describes it.

use std::fs::File;
use std::sync::Arc;

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::io::Errno;
use thiserror::Error;
use vm_memory::mmap::FromRangesError;
use vm_memory::{FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion};

use super::config::RamRange;
use super::message::double_words;

/// Why guest memory could not be made or used.
#[derive(Debug, Error)]
pub enum MemoryError {
    /// The memfd could not be made.
    #[error("memfd failed")]
    Memfd(#[from] Errno),
    /// The ranges overlap or could not be mapped.
    #[error("guest RAM could not be mapped")]
    Map(#[from] FromRangesError),
    /// No host address belongs to a guest-physical one.
    #[error("{0:#x} is not guest RAM")]
    NotRam(u64),
    /// The guest memory could not be accessed.
    #[error("guest memory access failed")]
    Access(#[from] vm_memory::GuestMemoryError),
}

/// One region of a memory table.
#[derive(Clone, Debug)]
pub struct TableRegion {
    /// Guest-physical address.
    pub gpa: u64,
    /// Bytes.
    pub size: u64,
    /// Address in the VMM's address space.
    pub user_addr: u64,
    /// Offset of the region in its file.
    pub mmap_offset: u64,
    /// The file.
    pub file: Arc<File>,
}

impl TableRegion {
    /// The region as it travels.
    pub fn to_bytes(&self) -> Vec<u8> {
        double_words(&[self.gpa, self.size, self.user_addr, self.mmap_offset])
    }

    /// Whether both describe the same memory at the same place.
    pub fn is_same(&self, other: &Self) -> bool {
        self.to_bytes() == other.to_bytes()
    }
}

/// Guest RAM, one memfd per range.
#[derive(Clone, Debug)]
pub struct GuestRam {
    memory: GuestMemoryMmap,
    /// Whether the backend is told of more than the first range.
    plugged: bool,
}

impl GuestRam {
    /// Zeroed RAM.
    ///
    /// # Errors
    /// See [`MemoryError`].
    pub fn new(ranges: &[RamRange]) -> Result<Self, MemoryError> {
        let ranges = ranges
            .iter()
            .map(|range| {
                let fd = memfd_create("guest-ram", MemfdFlags::CLOEXEC)?;
                ftruncate(&fd, range.size as u64)?;
                let file = FileOffset::new(File::from(fd), 0);
                Ok((GuestAddress(range.gpa), range.size, Some(file)))
            })
            .collect::<Result<Vec<_>, Errno>>()?;
        Ok(Self {
            memory: GuestMemoryMmap::from_ranges_with_files(&ranges)?,
            plugged: true,
        })
    }

    /// The memory as the guest sees it.
    pub fn memory(&self) -> &GuestMemoryMmap {
        &self.memory
    }

    /// Plugs or unplugs every range but the first.
    pub fn set_plugged(&mut self, plugged: bool) {
        self.plugged = plugged;
    }

    /// The address of `gpa` in the VMM's address space.
    ///
    /// # Errors
    /// [`MemoryError::NotRam`].
    pub fn user_addr(&self, gpa: GuestAddress) -> Result<u64, MemoryError> {
        self.memory
            .get_host_address(gpa)
            .map(|pointer| pointer.addr() as u64)
            .map_err(|_| MemoryError::NotRam(gpa.0))
    }

    /// The memory table of RAM alone, sorted by guest-physical address.
    ///
    /// # Errors
    /// See [`MemoryError`].
    pub fn table(&self) -> Result<Vec<TableRegion>, MemoryError> {
        let ranges = if self.plugged { usize::MAX } else { 1 };
        self.memory
            .iter()
            .take(ranges)
            .map(|region| {
                let gpa = region.start_addr();
                let file = region.file_offset().ok_or(MemoryError::NotRam(gpa.0))?;
                Ok(TableRegion {
                    gpa: gpa.0,
                    size: region.len(),
                    user_addr: self.user_addr(gpa)?,
                    mmap_offset: file.start(),
                    file: Arc::clone(file.arc()),
                })
            })
            .collect()
    }
}
