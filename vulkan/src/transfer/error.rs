//! Why the GPU did not move bytes.

use thiserror::Error;

use crate::error::DeviceError;

/// Why nothing was submitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TransferError {
    /// The range is empty or not one of the memory's.
    #[error("{size} bytes at {offset} are not in memory of {available} bytes")]
    OutOfRange {
        /// First byte.
        offset: u64,
        /// Bytes.
        size: u64,
        /// Bytes there are.
        available: u64,
    },
    /// Offset and size of a fill are multiples of 4.
    #[error("a fill of {size} bytes at {offset} is not made of 32-bit words")]
    Misaligned {
        /// First byte.
        offset: u64,
        /// Bytes.
        size: u64,
    },
    /// Source and destination overlap.
    #[error("source and destination of the copy overlap")]
    Overlap,
    /// The memory belongs to an image and cannot be seen as bytes by the GPU.
    #[error("the memory of this image cannot be copied as bytes")]
    Unsupported,
    /// The memory is not of this device.
    #[error("the memory belongs to another device")]
    OtherDevice,
    /// As many transfers as this crate keeps wait for the GPU.
    #[error("{limit} transfers wait for the GPU")]
    TooMany {
        /// How many may wait.
        limit: usize,
    },
    /// A Vulkan call failed.
    #[error(transparent)]
    Device(#[from] DeviceError),
}

/// Why a transfer is not known to be complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum WaitError {
    /// Not yet.
    #[error("the GPU did not finish in time")]
    TimedOut,
    /// A Vulkan call failed.
    #[error(transparent)]
    Device(#[from] DeviceError),
}

/// Why there is no sync file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SyncFileError {
    /// The device cannot make any.
    #[error("the device does not export sync files")]
    Unsupported,
    /// The file could not be duplicated.
    #[error("cannot duplicate the sync file")]
    Duplicate(#[source] rustix::io::Errno),
    /// A Vulkan call failed.
    #[error(transparent)]
    Device(#[from] DeviceError),
}
