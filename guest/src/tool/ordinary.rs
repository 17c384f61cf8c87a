//! Ordinary memory of the guest, to compare with: a memfd, mapped as a blob is.

use std::io;
use std::os::fd::AsFd;

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

use crate::access::{Bytes, SharedMap};

/// A mapped memfd whose pages are all there.
#[derive(Debug)]
pub struct Ordinary(SharedMap);

impl Ordinary {
    /// So many bytes.
    pub fn new(len: usize) -> io::Result<Self> {
        let file = memfd_create("coherd-guest", MemfdFlags::CLOEXEC)?;
        ftruncate(&file, u64::try_from(len).unwrap_or(u64::MAX))?;
        let map = SharedMap::new(file.as_fd(), 0, len)?;
        map.bytes().fill(0);
        Ok(Self(map))
    }

    /// All of it.
    pub fn bytes(&self) -> Bytes<'_> {
        self.0.bytes()
    }
}
