//! Allocation: the first memory type, of those that fit, that has the memory.

use std::sync::Arc;

use ash::vk;

use crate::error::DeviceError;
use crate::facts::TypeFacts;
use crate::logical::LogicalDevice;
use crate::memory::allocation::Memory;
use crate::memory::attempt::attempt;
use crate::memory::choose::rank;
use crate::memory::exports::Exports;
use crate::memory::{AllocateError, AllocationRequest, ExportNeed};

/// Allocates what `request` asks for.
///
/// # Errors
/// See [`AllocateError`]. If several types fit and none has the memory, the error is that of the
/// best of them.
pub fn allocate(
    device: &Arc<LogicalDevice>,
    exports: &Exports,
    request: &AllocationRequest<'_>,
) -> Result<Memory, AllocateError> {
    device.ensure_alive()?;
    let size = checked_size(device, request.size)?;
    let types = &device.facts().types;
    let ranked = rank(types, u32::MAX, request.required, request.preferred);
    let mut failure = None;
    for ty in &ranked {
        match with_type(device, exports, ty, size, request) {
            Ok(Some(memory)) => return Ok(memory),
            Ok(None) => {}
            Err(error) if another_type_may_do(&error) => {
                failure.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
    Err(failure.unwrap_or(if ranked.is_empty() {
        AllocateError::NoMemoryType {
            required: request.required,
        }
    } else {
        AllocateError::Unsupported("export memory with these properties")
    }))
}

/// Memory of type `ty`; `None` if it could not be shared as it has to be.
fn with_type(
    device: &Arc<LogicalDevice>,
    exports: &Exports,
    ty: &TypeFacts,
    size: u64,
    request: &AllocationRequest<'_>,
) -> Result<Option<Memory>, AllocateError> {
    let way = exports.best(ty, request.export);
    let attempted = match request.export {
        ExportNeed::Mappable | ExportNeed::DmaBuf if way.is_none() => return Ok(None),
        ExportNeed::IfPossible => match attempt(device, ty, way, size, request) {
            Err(AllocateError::Unsupported(_)) => attempt(device, ty, None, size, request),
            attempted => attempted,
        },
        _ => attempt(device, ty, way, size, request),
    };
    attempted.map(Some)
}

/// The size of a buffer for `size` bytes. It is rounded up to pages, since whoever maps the memory
/// maps pages.
///
/// # Errors
/// [`AllocateError::Empty`] (VUID-VkBufferCreateInfo-size-00912) and [`AllocateError::TooLarge`]
/// (VUID-VkBufferCreateInfo-size-06409, and `maxMemoryAllocationSize`, above which
/// vkAllocateMemory may fail or worse).
pub fn checked_size(device: &LogicalDevice, size: u64) -> Result<u64, AllocateError> {
    if size == 0 {
        return Err(AllocateError::Empty);
    }
    let limit = device.facts().max_allocation_size;
    let page = u64::try_from(rustix::param::page_size()).unwrap_or(4096);
    size.checked_next_multiple_of(page)
        .filter(|rounded| *rounded <= limit)
        .ok_or(AllocateError::TooLarge { size, limit })
}

/// Whether memory of another type may be had where this error came from one type.
pub fn another_type_may_do(error: &AllocateError) -> bool {
    match error {
        AllocateError::TooLarge { .. }
        | AllocateError::NoMemoryType { .. }
        | AllocateError::OverBudget { .. }
        | AllocateError::Unsupported(_)
        | AllocateError::Device(DeviceError::OutOfDeviceMemory) => true,
        AllocateError::Device(DeviceError::Call { source, .. }) => {
            *source == vk::Result::ERROR_INVALID_EXTERNAL_HANDLE
        }
        AllocateError::Empty
        | AllocateError::TooMany { .. }
        | AllocateError::Shm(_)
        | AllocateError::Device(_) => false,
    }
}
