//! Doors: the ways by which a CPU gets at memory.

use std::fmt;
use std::os::fd::AsFd;

use coherd_blob::Access;
use coherd_vulkan::memory::{HostMemory, MappedFile};
use rustix::io::Errno;

use super::{MemoryError, Subject};
use crate::dma_buf::{self, SyncFlags};

/// A way to memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// vkMapMemory, by the process that allocated it.
    Mapping,
    /// An mmap of the file, by any process.
    File,
}

impl fmt::Display for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mapping => "vkMapMemory",
            Self::File => "mmap of the file",
        })
    }
}

/// Memory seen through a door.
#[derive(Debug)]
pub struct View<'subject> {
    subject: &'subject Subject,
    door: Door,
    start: *mut u8,
    len: usize,
    /// Keeps what `start` points to, if the allocation does not.
    _file: Option<MappedFile>,
}

impl<'subject> View<'subject> {
    /// Goes through the door.
    ///
    /// # Errors
    /// See [`MemoryError`].
    pub fn open(subject: &'subject Subject, door: Door) -> Result<Self, MemoryError> {
        let (start, len, file) = match door {
            Door::Mapping => {
                let bytes = subject.allocation().map()?;
                (bytes.as_ptr(), bytes.len(), None)
            }
            Door::File => {
                let backing = subject.backing().ok_or(MemoryError::NoFile)?;
                let file = MappedFile::of(backing).map_err(MemoryError::Map)?;
                (file.as_ptr(), file.len(), Some(file))
            }
        };
        Ok(Self {
            subject,
            door,
            start,
            len,
            _file: file,
        })
    }

    /// Bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Begins a bracket around accesses.
    ///
    /// # Errors
    /// [`MemoryError::Sync`] and [`MemoryError::Access`]
    pub fn start(&self, access: Access) -> Result<(), MemoryError> {
        self.subject.start(self.door, access)
    }

    /// Ends it.
    ///
    /// # Errors
    /// As [`View::start`].
    pub fn end(&self, access: Access) -> Result<(), MemoryError> {
        self.subject.end(self.door, access)
    }

    /// Copies bytes from the start of the memory.
    ///
    /// # Panics
    /// If it has not so many.
    pub fn load(&self, bytes: &mut [u8]) {
        self.load_at(0, bytes);
    }

    /// Copies bytes to the start of the memory.
    ///
    /// # Panics
    /// If it has not so many.
    pub fn store(&self, bytes: &[u8]) {
        self.store_at(0, bytes);
    }

    /// Copies bytes from the memory.
    ///
    /// # Panics
    /// If it has not so many from there.
    #[inline]
    pub fn load_at(&self, offset: usize, bytes: &mut [u8]) {
        self.check(offset, bytes.len());
        // SAFETY: the range is in the mapping, of which there are no references.
        unsafe {
            self.start
                .add(offset)
                .copy_to_nonoverlapping(bytes.as_mut_ptr(), bytes.len());
        };
    }

    /// Copies bytes to the memory.
    ///
    /// # Panics
    /// If it has not so many from there.
    #[inline]
    pub fn store_at(&self, offset: usize, bytes: &[u8]) {
        self.check(offset, bytes.len());
        // SAFETY: as above.
        unsafe {
            self.start
                .add(offset)
                .copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        };
    }

    fn check(&self, offset: usize, len: usize) {
        let end = offset.checked_add(len);
        assert!(
            end.is_some_and(|end| end <= self.len),
            "{len} bytes at {offset} of {} bytes of memory",
            self.len
        );
    }
}

/// One end of a dma-buf's bracket, tried until it is through.
pub(super) fn sync(fd: impl AsFd, access: Access, end: bool) -> Result<(), MemoryError> {
    let mut flags = SyncFlags::from_bits_retain(access.bits().into());
    flags.set(SyncFlags::END, end);
    loop {
        match dma_buf::sync(&fd, flags) {
            Err(Errno::INTR | Errno::AGAIN) => {}
            other => return other.map_err(MemoryError::Sync),
        }
    }
}
