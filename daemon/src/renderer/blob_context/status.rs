//! The one map from what fails to the status that a guest is told.

use coherd_blob::BracketError;
use coherd_protocol::blob_context::Status;
use coherd_vulkan::DeviceError;
use coherd_vulkan::image::ImageError;
use coherd_vulkan::memory::{AccessError as MemoryError, AllocateError, ExportError};
use coherd_vulkan::transfer::{TransferError, WaitError};

use super::gpu::TransferFailure;
use crate::coherence::{AccessError, PatienceError};

/// The status of an access that did not begin.
pub fn status_of(error: &AccessError) -> Status {
    match error {
        AccessError::Bracket(BracketError::TooMany(_)) => Status::OverQuota,
        AccessError::Bracket(BracketError::Access(_) | BracketError::Range { .. }) => {
            Status::Invalid
        }
        AccessError::Bracket(BracketError::Unknown | BracketError::NotStarted) => Status::NotOpen,
        AccessError::Patience(PatienceError::TimedOut | PatienceError::Cancelled) => {
            Status::TimedOut
        }
        AccessError::DeviceLost => Status::DeviceLost,
        AccessError::OutOfHostMemory => Status::OutOfHostMemory,
        AccessError::OutOfDeviceMemory => Status::OutOfDeviceMemory,
        AccessError::Driver(_) | AccessError::Kernel(_) => Status::Failed,
    }
}

/// The status of a failed Vulkan call.
pub fn of_device(error: &DeviceError) -> Status {
    match error {
        DeviceError::Lost => Status::DeviceLost,
        DeviceError::OutOfDeviceMemory => Status::OutOfDeviceMemory,
        DeviceError::OutOfHostMemory => Status::OutOfHostMemory,
        DeviceError::Call { .. } => Status::Failed,
    }
}

/// The status of memory that was not allocated.
pub fn of_allocate(error: &AllocateError) -> Status {
    match error {
        AllocateError::Empty => Status::Invalid,
        AllocateError::TooLarge { .. } | AllocateError::NoMemoryType { .. } => Status::NoMemoryType,
        AllocateError::OverBudget { .. } | AllocateError::TooMany { .. } => {
            Status::OutOfDeviceMemory
        }
        AllocateError::Unsupported(_) => Status::Unsupported,
        AllocateError::Shm(_) => Status::OutOfHostMemory,
        AllocateError::Device(error) => of_device(error),
    }
}

/// The status of an image that was not made.
pub fn of_image(error: &ImageError) -> Status {
    match error {
        ImageError::Unsupported => Status::Unsupported,
        ImageError::UnsupportedFormat { .. } => Status::UnsupportedFormat,
        ImageError::UnsupportedModifier | ImageError::UnsupportedSize { .. } => {
            Status::UnsupportedModifier
        }
        ImageError::Layout => Status::Failed,
        ImageError::Allocate(error) => of_allocate(error),
    }
}

/// The status of memory that was not exported.
pub fn of_export(error: &ExportError) -> Status {
    match error {
        ExportError::NotExportable => Status::Unsupported,
        ExportError::Duplicate(_) => Status::OutOfHostMemory,
        ExportError::Device(error) => of_device(error),
    }
}

/// What happened to a transfer that was not begun.
pub fn of_transfer(error: &TransferError) -> TransferFailure {
    TransferFailure::Status(match error {
        TransferError::TooMany { .. } => return TransferFailure::Busy,
        TransferError::OutOfRange { .. }
        | TransferError::Misaligned { .. }
        | TransferError::Overlap => Status::Invalid,
        TransferError::Unsupported => Status::Unsupported,
        TransferError::OtherDevice => Status::UnknownResource,
        TransferError::Device(error) => of_device(error),
    })
}

/// What happened to a flush or an invalidate.
pub fn of_memory(error: &MemoryError) -> AccessError {
    match error {
        MemoryError::Device(DeviceError::Lost) => AccessError::DeviceLost,
        MemoryError::Device(DeviceError::OutOfHostMemory) => AccessError::OutOfHostMemory,
        MemoryError::Device(DeviceError::OutOfDeviceMemory) => AccessError::OutOfDeviceMemory,
        other => AccessError::Driver(other.to_string()),
    }
}

/// What happened to an access for which the GPU's work ended like this.
pub fn of_work(status: Status) -> AccessError {
    match status {
        Status::DeviceLost => AccessError::DeviceLost,
        Status::OutOfHostMemory => AccessError::OutOfHostMemory,
        Status::OutOfDeviceMemory => AccessError::OutOfDeviceMemory,
        other => AccessError::Driver(other.to_string()),
    }
}

/// The status of work that does not come to an end; `None` if it may yet.
pub fn of_wait(error: &WaitError) -> Option<Status> {
    match error {
        WaitError::TimedOut => None,
        WaitError::Device(error) => Some(of_device(error)),
    }
}
