//! The exporter `system`: dma-bufs out of fresh pages (`linux/dma-heap.h`).

use std::os::fd::{FromRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::ioctl::{Opcode, Updater, ioctl, opcode};

use super::find::{self, NotFound};

const PATH: &str = "/dev/dma_heap/system";

/// `struct dma_heap_allocation_data`
#[repr(C)]
struct Allocation {
    len: u64,
    fd: u32,
    fd_flags: u32,
    heap_flags: u64,
}

const ALLOC: Opcode = opcode::read_write::<Allocation>(b'H', 0);

/// The heap.
#[derive(Debug)]
pub struct SystemHeap(OwnedFd);

impl SystemHeap {
    /// Opens it; `None`, and a line that says so, where there is none.
    ///
    /// # Errors
    /// See [`NotFound`].
    pub fn find() -> Result<Option<Self>, NotFound> {
        Ok(find::open(Path::new(PATH))?.map(Self))
    }

    /// Makes a dma-buf of so many bytes, all zero.
    ///
    /// # Errors
    /// ENOMEM, and EINVAL for none.
    pub fn allocate(&self, size: u64) -> Result<OwnedFd, Errno> {
        let mut argument = Allocation {
            len: size,
            fd: 0,
            fd_flags: (OFlags::RDWR | OFlags::CLOEXEC).bits(),
            heap_flags: 0,
        };
        // SAFETY: the operation reads and writes a `struct dma_heap_allocation_data`.
        unsafe { ioctl(&self.0, Updater::<ALLOC, _>::new(&mut argument)) }?;
        // SAFETY: the kernel has just made this file for us.
        Ok(unsafe { OwnedFd::from_raw_fd(argument.fd.cast_signed()) })
    }
}
