//! Why the window could not be changed or accessed.

use rustix::io::Errno;
use thiserror::Error;
use vm_memory::VolatileMemoryError;
use vm_memory::mmap::MmapRegionError;

/// Why the window could not be changed or accessed.
#[derive(Debug, Error)]
pub enum WindowError {
    /// Nothing, or not enough, is mapped there.
    #[error("nothing is mapped at {offset:#x}+{len:#x}")]
    NotMapped {
        /// Offset in the window.
        offset: u64,
        /// Bytes.
        len: u64,
    },
    /// The VMM has answered the backend and the guest does not see the mapping yet: a real guest
    /// loses the access.
    #[error("mapping at {0:#x} is not visible yet")]
    NotCommitted(u64),
    /// The mapping is read-only.
    #[error("mapping at {0:#x} is read-only")]
    ReadOnly(u64),
    /// No shared memory region has this id.
    #[error("no shared memory region {0}")]
    NoRegion(u8),
    /// The range leaves the window.
    #[error("{offset:#x}+{len:#x} is outside the window")]
    Outside {
        /// Offset in the window.
        offset: u64,
        /// Bytes.
        len: u64,
    },
    /// The range is empty.
    #[error("range is empty")]
    Empty,
    /// The range overlaps another mapping.
    #[error("{offset:#x}+{len:#x} overlaps a mapping")]
    Overlap {
        /// Offset in the window.
        offset: u64,
        /// Bytes.
        len: u64,
    },
    /// No mapping is the one to remove.
    #[error("no mapping {offset:#x}+{len:#x} to remove")]
    NoSuchMapping {
        /// Offset in the window.
        offset: u64,
        /// Bytes.
        len: u64,
    },
    /// The file descriptor is not open for reading and writing.
    #[error("file descriptor is not read-write")]
    Access,
    /// The file ends before the mapping does: accesses would end in SIGBUS.
    #[error("file of {0} bytes ends before the mapping")]
    FileSize(u64),
    /// The size of the file could not be found out.
    #[error("file has no size")]
    Seek(#[from] Errno),
    /// The file could not be mapped.
    #[error("mapping the file failed: {0}")]
    Map(#[from] MmapRegionError),
    /// The mapped memory could not be accessed.
    #[error("access to the mapping failed")]
    Volatile(#[from] VolatileMemoryError),
}
