//! Memory that is shared as a memfd the device works on. It is the way of drivers that export
//! nothing that can be mapped.

use std::sync::Arc;

use ash::vk;
use coherd_protocol::memory::MemoryProperties;

use crate::external::external_buffers;
use crate::facts::TypeFacts;
use crate::logical::LogicalDevice;
use crate::memory::AllocateError;
use crate::memory::buffer::{Buffer, Dedicated, Requirements, TRANSFERS};
use crate::memory::choose::allows;
use crate::memory::device_memory::{DeviceMemory, Source};
use crate::memory::export::Share;
use crate::memory::host::{HostMemory, shared_memory};
use crate::memory::pointer;

/// A memory object on a memfd.
pub struct SharedMemory {
    /// The memory object.
    pub memory: DeviceMemory,
    /// The memfd.
    pub share: Share,
    /// Its mapping, which outlives the memory object.
    pub host: Arc<dyn HostMemory>,
}

/// Allocates memory of type `ty` for a buffer that wants `requirements`.
///
/// # Errors
/// See [`AllocateError`].
pub fn allocate(
    device: &Arc<LogicalDevice>,
    ty: &TypeFacts,
    requirements: &Requirements,
    name: &str,
) -> Result<SharedMemory, AllocateError> {
    // VUID-VkMemoryAllocateInfo-pNext-02806
    if requirements.dedicated == Dedicated::Required {
        return Err(AllocateError::Unsupported(
            "dedicate memory of the host to a buffer",
        ));
    }
    let size = round_up(device, requirements.size).ok_or(AllocateError::TooLarge {
        size: requirements.size,
        limit: device.facts().max_allocation_size,
    })?;
    let (fd, mapped) = shared_memory(name, size).map_err(AllocateError::Shm)?;
    if !allows(pointer::types(device, &mapped)?, ty) {
        return Err(AllocateError::NoMemoryType {
            required: ty.properties,
        });
    }
    // SAFETY: the mapping is kept with the memory object and has `size` bytes, which are rounded
    // up to what the device wants; mappings start at pages, and so does what is aligned to more
    // than them by `round_up`.
    let memory = unsafe { pointer::import(device, ty, Source::New, &mapped, size) }?;
    Ok(SharedMemory {
        memory,
        share: Share::Memfd(fd),
        host: Arc::new(mapped),
    })
}

/// `size` rounded up to pages and to what the device wants of imported memory
/// (VUID-VkMemoryAllocateInfo-allocationSize-01745). A device that wants it aligned to more than
/// pages gets none (VUID-VkImportMemoryHostPointerInfoEXT-pHostPointer-01749).
fn round_up(device: &LogicalDevice, size: u64) -> Option<u64> {
    let page = u64::try_from(rustix::param::page_size()).ok()?;
    let alignment = device.facts().host_alignment;
    (alignment <= page)
        .then(|| size.checked_next_multiple_of(page))
        .flatten()
}

/// The types of which memory can be made on a memfd, by making some: drivers may take memory of
/// the host in general and refuse that of files, as amdgpu does.
///
/// # Errors
/// See [`AllocateError`].
pub fn probe(device: &Arc<LogicalDevice>) -> Result<u32, AllocateError> {
    let features = external_buffers(
        device.instance(),
        device.physical(),
        pointer::HANDLE_TYPE,
        TRANSFERS,
    );
    if !features.contains(vk::ExternalMemoryFeatureFlags::IMPORTABLE) {
        return Ok(0);
    }
    let buffer = Buffer::new(device, 4096, TRANSFERS, pointer::HANDLE_TYPE)?;
    let requirements = buffer.requirements();
    let mut works = 0;
    for ty in &device.facts().types {
        let candidate = allows(requirements.types, ty)
            && ty.properties.contains(MemoryProperties::HOST_VISIBLE);
        if candidate && try_one(device, ty, &requirements)? {
            works |= 1 << ty.index;
        }
    }
    Ok(works)
}

fn try_one(
    device: &Arc<LogicalDevice>,
    ty: &TypeFacts,
    requirements: &Requirements,
) -> Result<bool, AllocateError> {
    match allocate(device, ty, requirements, "probe") {
        Ok(_) => Ok(true),
        Err(
            AllocateError::Unsupported(_)
            | AllocateError::NoMemoryType { .. }
            | AllocateError::TooLarge { .. }
            | AllocateError::OverBudget { .. },
        ) => Ok(false),
        Err(error) if pointer::refused(&error) => Ok(false),
        Err(error) => Err(error),
    }
}
