//! Allocation: the first memory type, of those that fit, that has the memory.

use std::sync::Arc;

use ash::vk;
use coherd_blob::backing::ExportKind;

use crate::error::DeviceError;
use crate::external::external_buffers;
use crate::facts::TypeFacts;
use crate::logical::LogicalDevice;
use crate::memory::allocation::{Memory, Parts};
use crate::memory::buffer::{Buffer, Dedicated, Requirements, usage_flags};
use crate::memory::choose::{allows, rank};
use crate::memory::device_memory::{DeviceMemory, Source};
use crate::memory::export::{Exports, Share, handle_type};
use crate::memory::{AllocateError, AllocationRequest, ExportNeed, shm};

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
        let way = match request.export {
            ExportNeed::None => None,
            ExportNeed::IfPossible => exports.best(ty, ExportNeed::IfPossible),
            need => match exports.best(ty, need) {
                Some(kind) => Some(kind),
                None => continue,
            },
        };
        let attempted = match attempt(device, ty, way, size, request) {
            Err(AllocateError::Unsupported(_)) if request.export == ExportNeed::IfPossible => {
                attempt(device, ty, None, size, request)
            }
            attempted => attempted,
        };
        match attempted {
            Ok(memory) => return Ok(memory),
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

fn attempt(
    device: &Arc<LogicalDevice>,
    ty: &TypeFacts,
    way: Option<ExportKind>,
    size: u64,
    request: &AllocationRequest<'_>,
) -> Result<Memory, AllocateError> {
    let usage = usage_flags(request.usage);
    let handle = way.map(handle_type).unwrap_or_default();
    let forced = match way {
        Some(kind) => dedicated_by(device, kind, usage)?,
        None => Dedicated::Indifferent,
    };
    let buffer = Buffer::new(device, size, usage, handle)?;
    let mut requirements = buffer.requirements();
    requirements.dedicated = requirements.dedicated.max(forced);
    if !allows(requirements.types, ty) {
        return Err(AllocateError::NoMemoryType {
            required: request.required,
        });
    }
    let (memory, share, host) = match way {
        Some(ExportKind::Shm) => {
            let shared = shm::allocate(device, ty, &requirements, request.name)?;
            (shared.memory, Some(shared.share), Some(shared.host))
        }
        way => {
            let memory = by_driver(device, ty, &buffer, &requirements, handle)?;
            (memory, way.map(Share::Driver), None)
        }
    };
    // SAFETY: type, size and handle type are those the buffer wants, the memory is dedicated to it
    // or to nobody, and `Memory` frees it after the buffer.
    unsafe { buffer.bind(memory.raw()) }?;
    Ok(Memory::new(Parts {
        buffer: Some(buffer),
        image: None,
        memory,
        host,
        foreign: share.is_some(),
        share,
        name: request.name.into(),
        size: request.size,
    }))
}

/// Whether memory that is shared as `kind` has to be dedicated, by the driver
/// (VUID-VkMemoryAllocateInfo-pNext-00639).
///
/// # Errors
/// [`AllocateError::Unsupported`] if a buffer of `usage` cannot be shared so
/// (VUID-VkExportMemoryAllocateInfo-handleTypes-00656,
/// VUID-VkImportMemoryHostPointerInfoEXT-handleType-01747).
fn dedicated_by(
    device: &LogicalDevice,
    kind: ExportKind,
    usage: vk::BufferUsageFlags,
) -> Result<Dedicated, AllocateError> {
    let needed = match kind {
        ExportKind::DmaBuf | ExportKind::Opaque => vk::ExternalMemoryFeatureFlags::EXPORTABLE,
        ExportKind::Shm => vk::ExternalMemoryFeatureFlags::IMPORTABLE,
    };
    let features = external_buffers(
        device.instance(),
        device.physical(),
        handle_type(kind),
        usage,
    );
    if !features.contains(needed) {
        return Err(AllocateError::Unsupported(
            "share buffers of this usage with others",
        ));
    }
    Ok(
        if features.contains(vk::ExternalMemoryFeatureFlags::DEDICATED_ONLY) {
            Dedicated::Required
        } else {
            Dedicated::Indifferent
        },
    )
}

fn by_driver(
    device: &Arc<LogicalDevice>,
    ty: &TypeFacts,
    buffer: &Buffer,
    requirements: &Requirements,
    handle: vk::ExternalMemoryHandleTypeFlags,
) -> Result<DeviceMemory, AllocateError> {
    let mut dedicated = vk::MemoryDedicatedAllocateInfo::default().buffer(buffer.raw());
    let mut export = vk::ExportMemoryAllocateInfo::default().handle_types(handle);
    let mut info = vk::MemoryAllocateInfo::default().allocation_size(requirements.size);
    if requirements.dedicated >= Dedicated::Preferred {
        info = info.push_next(&mut dedicated);
    }
    if !handle.is_empty() {
        info = info.push_next(&mut export);
    }
    // SAFETY: the handle type can be exported (VUID-VkExportMemoryAllocateInfo-handleTypes-00656),
    // and the memory is dedicated where that is needed (VUID-VkMemoryAllocateInfo-pNext-00639), to
    // a buffer of the same size (VUID-VkMemoryDedicatedAllocateInfo-buffer-02965).
    unsafe { DeviceMemory::allocate(device, ty, Source::New, info) }
}
