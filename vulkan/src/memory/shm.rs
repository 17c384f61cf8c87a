//! Memory that is shared as a memfd the device works on. It is the way of drivers that export
//! nothing that can be mapped.

use std::sync::Arc;

use crate::facts::TypeFacts;
use crate::logical::LogicalDevice;
use crate::memory::AllocateError;
use crate::memory::buffer::{Dedicated, Requirements};
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
