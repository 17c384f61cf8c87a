//! An allocation.

use std::ops::Range;
use std::os::fd::OwnedFd;

use coherd_blob::backing::ExportKind;
use coherd_protocol::memory::MemoryProperties;

use crate::memory::{AccessError, ExportError, MappedBytes};

/// Memory as a file that other processes can map.
#[derive(Debug)]
pub struct Exported {
    /// The file.
    pub fd: OwnedFd,
    /// What it is; [`Backing::new`](coherd_blob::Backing::new) finds the bytes in it.
    pub kind: ExportKind,
}

/// Memory of a device. It is freed when this is dropped and no transfer uses it any more.
#[derive(Debug)]
pub struct Allocation {
    name: String,
    size: u64,
    properties: MemoryProperties,
    memory_type: u32,
}

impl Allocation {
    /// What it is for.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Bytes, as asked for.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Properties of its memory type.
    pub fn properties(&self) -> MemoryProperties {
        self.properties
    }

    /// Place of its memory type in [`Device::memory_types`](crate::Device::memory_types).
    pub fn memory_type_index(&self) -> u32 {
        self.memory_type
    }

    /// Maps the memory; the first call does, later ones return the same.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub fn map(&self) -> Result<&MappedBytes, AccessError> {
        Err(AccessError::NotHostVisible)
    }

    /// Makes what a CPU wrote to `range` visible to the device, whichever process wrote it.
    /// The range is widened to multiples of `nonCoherentAtomSize`; coherent memory needs an
    /// ordering point only.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub fn flush(&self, range: Range<u64>) -> Result<(), AccessError> {
        let _ = range;
        Err(AccessError::NotHostVisible)
    }

    /// Makes what the device wrote to `range` visible to CPUs. The device has to be done with it.
    /// The range is widened as by [`Self::flush`].
    ///
    /// # Errors
    /// See [`AccessError`].
    pub fn invalidate(&self, range: Range<u64>) -> Result<(), AccessError> {
        let _ = range;
        Err(AccessError::NotHostVisible)
    }

    /// Exports the memory. Each call gives a new fd of the same memory.
    ///
    /// # Errors
    /// See [`ExportError`].
    pub fn export(&self) -> Result<Exported, ExportError> {
        Err(ExportError::NotExportable)
    }
}
