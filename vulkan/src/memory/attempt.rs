//! Allocation of one type, to be shared in one way.

use std::sync::Arc;

use ash::vk;
use coherd_blob::backing::ExportKind;

use crate::external::external_buffers;
use crate::facts::TypeFacts;
use crate::logical::LogicalDevice;
use crate::memory::allocation::{Memory, Parts};
use crate::memory::buffer::{Buffer, Dedicated, Requirements, usage_flags};
use crate::memory::choose::allows;
use crate::memory::device_memory::{DeviceMemory, Source};
use crate::memory::export::{Share, handle_type};
use crate::memory::{AllocateError, AllocationRequest, shm};

/// Allocates `size` bytes (those of the request, rounded up) of type `ty`, for export in the way
/// `way` if there is one. The device has its extensions.
///
/// # Errors
/// See [`AllocateError`].
pub fn attempt(
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
