//! Why memory could not be had or used.

use coherd_blob::BackingError;
use coherd_protocol::memory::MemoryProperties;
use rustix::io::Errno;
use thiserror::Error;

use crate::error::DeviceError;

/// Why memory was not allocated.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AllocateError {
    /// Nothing was asked for.
    #[error("an allocation of no bytes")]
    Empty,
    /// No memory of the device could ever hold it.
    #[error("{size} bytes are more than the device can allocate at once, {limit}")]
    TooLarge {
        /// Bytes asked for.
        size: u64,
        /// Bytes that could be had.
        limit: u64,
    },
    /// No memory type has the required properties and can hold this.
    #[error("no memory type with {required:?} can hold this")]
    NoMemoryType {
        /// Properties asked for.
        required: MemoryProperties,
    },
    /// The driver's budget for this process does not have as much left.
    #[error("{size} bytes are over the heap's budget, which has {available} left")]
    OverBudget {
        /// Bytes asked for.
        size: u64,
        /// Bytes left.
        available: u64,
    },
    /// The device holds as many allocations as the driver can keep.
    #[error("the driver keeps no more than {limit} allocations")]
    TooMany {
        /// `maxMemoryAllocationCount`
        limit: u32,
    },
    /// The device cannot do this at all.
    #[error("the device cannot {0}")]
    Unsupported(&'static str),
    /// Shared memory of the host could not be made.
    #[error("cannot make shared memory")]
    Shm(#[source] Errno),
    /// A Vulkan call failed.
    #[error(transparent)]
    Device(#[from] DeviceError),
}

/// Why memory of others was not imported.
#[derive(Debug, Error)]
pub enum ImportError {
    /// The file cannot back as many bytes, or nothing at all.
    #[error("the file cannot be used as memory")]
    Backing(#[from] BackingError),
    /// The memory does not start where the driver wants it to.
    #[error("imported memory has to start at a multiple of {alignment} bytes")]
    Misaligned {
        /// `minImportedHostPointerAlignment`
        alignment: u64,
    },
    /// The memory ends before the request does.
    #[error("memory of {available} bytes is too small for {size}")]
    TooSmall {
        /// Bytes asked for, with what the driver needs behind them.
        size: u64,
        /// Bytes there are.
        available: u64,
    },
    /// The driver does not take it.
    #[error("the driver does not take this memory")]
    Refused,
    /// The file could not be duplicated.
    #[error("cannot duplicate the file")]
    Duplicate(#[source] Errno),
    /// As for memory that is allocated.
    #[error(transparent)]
    Allocate(#[from] AllocateError),
}

/// Why memory could not be accessed by this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AccessError {
    /// The memory type is not HOST_VISIBLE.
    #[error("the memory is not host visible")]
    NotHostVisible,
    /// The range is not one of the memory's.
    #[error("bytes {start} to {end} are not in memory of {size} bytes")]
    OutOfRange {
        /// First byte.
        start: u64,
        /// Byte behind the last.
        end: u64,
        /// Bytes there are.
        size: u64,
    },
    /// A Vulkan call failed.
    #[error(transparent)]
    Device(#[from] DeviceError),
}

/// Why memory was not exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ExportError {
    /// It was not allocated for that.
    #[error("the memory was not allocated for export")]
    NotExportable,
    /// The file could not be duplicated.
    #[error("cannot duplicate the file")]
    Duplicate(#[source] Errno),
    /// A Vulkan call failed.
    #[error(transparent)]
    Device(#[from] DeviceError),
}
