//! Mappings of files, as another process would make them.

use std::os::fd::AsFd;
use std::ptr::{self, NonNull};

use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// Bytes of a file, shared, readable and writable; unmapped when dropped.
#[derive(Debug)]
pub struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the memory belongs to the mapping and is only read and written by volatile accesses of
// single bytes.
unsafe impl Send for Mapping {}

impl Mapping {
    /// Maps `len` bytes from the start of a file.
    ///
    /// # Errors
    /// The error of mmap.
    pub fn new(fd: impl AsFd, len: usize) -> Result<Self, Errno> {
        let start = map_flags(fd, len, MapFlags::SHARED)?;
        Ok(Self { start, len })
    }

    /// Copies bytes out of it.
    ///
    /// # Panics
    /// If it has not so many from there.
    pub fn read(&self, offset: usize, bytes: &mut [u8]) {
        self.check(offset, bytes.len());
        for (index, byte) in bytes.iter_mut().enumerate() {
            // SAFETY: the offset lies in the mapping, which was checked.
            *byte = unsafe { self.start.add(offset + index).read_volatile() };
        }
    }

    /// The bytes of a part of it.
    ///
    /// # Panics
    /// As [`Mapping::read`].
    #[must_use]
    pub fn bytes(&self, offset: usize, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.read(offset, &mut bytes);
        bytes
    }

    /// Copies bytes into it.
    ///
    /// # Panics
    /// As [`Mapping::read`].
    pub fn write(&self, offset: usize, bytes: &[u8]) {
        self.check(offset, bytes.len());
        for (index, byte) in bytes.iter().enumerate() {
            // SAFETY: the offset lies in the mapping, which was checked.
            unsafe { self.start.add(offset + index).write_volatile(*byte) };
        }
    }

    fn check(&self, offset: usize, len: usize) {
        let end = offset.checked_add(len);
        assert!(
            end.is_some_and(|end| end <= self.len),
            "{len} bytes at {offset} of a mapping of {} bytes",
            self.len
        );
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `new` and ends with its owner.
        let unmapped = unsafe { munmap(self.start.as_ptr().cast(), self.len) };
        debug_assert_eq!(unmapped, Ok(()));
    }
}

/// Maps `len` bytes from the start of a file, readable and writable, and leaves them mapped.
///
/// # Errors
/// The error of mmap.
pub fn map_flags(fd: impl AsFd, len: usize, flags: MapFlags) -> Result<NonNull<u8>, Errno> {
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new mapping at an address of the kernel's choice replaces none.
    let start = unsafe { mmap(ptr::null_mut(), len, protection, flags, fd, 0) }?;
    NonNull::new(start.cast()).ok_or(Errno::NOMEM)
}
