//! Memfds as udmabuf wants them, and as it does not.

use std::os::fd::OwnedFd;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};

/// A memfd of so many bytes that can be sealed and has these seals.
pub fn sealed(size: u64, seals: SealFlags) -> OwnedFd {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let memfd = memfd_create("dma-buf test", flags).unwrap();
    ftruncate(&memfd, size).unwrap();
    fcntl_add_seals(&memfd, seals).unwrap();
    memfd
}

/// A memfd of so many bytes that udmabuf takes.
pub fn fit(size: u64) -> OwnedFd {
    sealed(size, SealFlags::SHRINK)
}
