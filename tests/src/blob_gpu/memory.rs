//! Memory as files.

use std::fmt;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use coherd_blob::MemoryProperties;
use coherd_protocol::blob_context::Status;
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::io::{Errno, fcntl_dupfd_cloexec, pread, pwrite};

use super::state::MemoryGpu;
use super::{ATOM, TYPES};

/// One side of memory.
#[derive(Clone, Debug)]
pub(super) struct Side(Arc<OwnedFd>);

impl Side {
    fn new(size: u64) -> Result<Self, Errno> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let fd = memfd_create("blob", flags)?;
        ftruncate(&fd, size)?;
        Ok(Self(Arc::new(fd)))
    }

    /// Bytes, fewer where the file ends.
    pub(super) fn read(&self, offset: u64, len: u64) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
        let read = pread(&*self.0, &mut bytes, offset).unwrap_or(0);
        bytes.truncate(read);
        bytes
    }

    pub(super) fn write(&self, offset: u64, bytes: &[u8]) {
        // The file is sealed, and nobody writes past its end.
        let _ = pwrite(&*self.0, bytes, offset);
    }
}

/// Memory of the GPU.
pub struct FileMemory {
    gpu: MemoryGpu,
    type_index: usize,
    size: u64,
    cpu: Side,
    /// `None` where both sides see the same.
    device: Option<Side>,
}

impl FileMemory {
    pub(super) fn new(gpu: &MemoryGpu, type_index: usize, size: u64) -> Result<Self, Status> {
        let failed = |_| Status::OutOfHostMemory;
        let file_size = size.next_multiple_of(4096);
        let coherent = TYPES[type_index].contains(MemoryProperties::HOST_COHERENT);
        let cpu = Side::new(file_size).map_err(failed)?;
        let device = (!coherent)
            .then(|| Side::new(file_size))
            .transpose()
            .map_err(failed)?;
        gpu.take(size)?;
        Ok(Self {
            gpu: gpu.clone(),
            type_index,
            size,
            cpu,
            device,
        })
    }

    pub(super) fn gpu(&self) -> &MemoryGpu {
        &self.gpu
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    pub(super) fn type_index(&self) -> usize {
        self.type_index
    }

    pub(super) fn gpu_side(&self) -> Side {
        self.device.clone().unwrap_or_else(|| self.cpu.clone())
    }

    pub(super) fn duplicate(&self) -> Result<OwnedFd, Status> {
        fcntl_dupfd_cloexec(&*self.cpu.0, 0).map_err(|_| Status::OutOfHostMemory)
    }

    pub(super) fn read_cpu(&self, offset: u64, into: &mut [u8]) {
        into.fill(0);
        // The file is as long as the blob.
        let _ = pread(&*self.cpu.0, into, offset);
    }

    pub(super) fn write_cpu(&self, offset: u64, from: &[u8]) {
        self.cpu.write(offset, from);
    }

    pub(super) fn send(&self, range: Range<u64>) {
        if let Some(device) = &self.device {
            carry(&self.cpu, device, range);
        }
    }

    pub(super) fn fetch(&self, range: Range<u64>) {
        if let Some(device) = &self.device {
            carry(device, &self.cpu, range);
        }
    }
}

impl fmt::Debug for FileMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileMemory")
            .field("type_index", &self.type_index)
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

impl Drop for FileMemory {
    fn drop(&mut self) {
        self.gpu.give_back(self.size);
    }
}

/// Copies whole atoms.
fn carry(from: &Side, to: &Side, range: Range<u64>) {
    let start = range.start / ATOM * ATOM;
    let end = range.end.next_multiple_of(ATOM);
    to.write(start, &from.read(start, end - start));
}
