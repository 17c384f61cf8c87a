//! A mapping of a file.

#![allow(unsafe_code, reason = "mmap and munmap")]

use std::io;
use std::os::fd::BorrowedFd;
use std::ptr::{NonNull, null_mut};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::bytes::Bytes;

/// A shared mapping of a part of a file, until it is dropped.
#[derive(Debug)]
pub(crate) struct SharedMap {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping is of no thread, and is unmapped once, when its only owner is dropped.
unsafe impl Send for SharedMap {}
// SAFETY: a shared reference gives `Bytes`, which expects changes by others.
unsafe impl Sync for SharedMap {}

impl SharedMap {
    /// Maps `len` bytes of a file from `offset`, for reading and writing.
    pub fn new(file: BorrowedFd<'_>, offset: u64, len: usize) -> io::Result<Self> {
        // SAFETY: the kernel chooses a free range of addresses, so that no memory of this process
        // is replaced.
        let start = unsafe {
            mmap(
                null_mut(),
                len,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                file,
                offset,
            )?
        };
        let start = NonNull::new(start.cast()).ok_or_else(|| io::Error::other("mapped at 0"))?;
        Ok(Self { start, len })
    }

    /// Bytes that are mapped.
    pub fn len(&self) -> usize {
        self.len
    }

    /// All of it.
    pub fn bytes(&self) -> Bytes<'_> {
        // SAFETY: the range is mapped as long as `self` lives.
        unsafe { Bytes::new(self.start, self.len) }
    }
}

impl Drop for SharedMap {
    fn drop(&mut self) {
        // SAFETY: `new` mapped exactly this range, and no `Bytes` outlives `self`. That it could
        // not be unmapped would mean that it is not mapped.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.len) };
    }
}
