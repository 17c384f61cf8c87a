//! Memory objects on memory of the host.

use std::sync::Arc;

use ash::vk;

use crate::error::DeviceError;
use crate::facts::TypeFacts;
use crate::logical::LogicalDevice;
use crate::memory::AllocateError;
use crate::memory::device_memory::{DeviceMemory, Source};
use crate::memory::host::HostMemory;

/// What drivers call memory that the CPU allocated.
pub const HANDLE_TYPE: vk::ExternalMemoryHandleTypeFlags =
    vk::ExternalMemoryHandleTypeFlags::HOST_ALLOCATION_EXT;

/// The types as which the device can take `memory`, a bit for each index.
///
/// # Errors
/// [`AllocateError::Unsupported`] and the call's; a driver may refuse some pointers with
/// ERROR_INVALID_EXTERNAL_HANDLE.
pub fn types(device: &LogicalDevice, memory: &dyn HostMemory) -> Result<u32, AllocateError> {
    let functions = device.functions().host_memory.as_ref();
    let functions = functions.ok_or(AllocateError::Unsupported("use memory of the host"))?;
    let mut properties = vk::MemoryHostPointerPropertiesEXT::default();
    // SAFETY: the pointer is that of memory of the host and aligned as the device wants it
    // (VUID-vkGetMemoryHostPointerPropertiesEXT-handleType-01754, -pHostPointer-01753), which
    // callers check; the structure lives through the call.
    let result = unsafe {
        (functions.fp().get_memory_host_pointer_properties_ext)(
            functions.device(),
            HANDLE_TYPE,
            memory.as_ptr().cast_const().cast(),
            &mut properties,
        )
    };
    device.outcome("vkGetMemoryHostPointerPropertiesEXT", result.result())?;
    Ok(properties.memory_type_bits)
}

/// A memory object on the first `size` bytes of `memory`, of a type that [`types`] returned.
///
/// # Errors
/// As for [`DeviceMemory::allocate`].
///
/// # Safety
/// The memory outlives the memory object, is as large, and `size` and its start are multiples of
/// `minImportedHostPointerAlignment`.
pub unsafe fn import(
    device: &Arc<LogicalDevice>,
    ty: &TypeFacts,
    source: Source,
    memory: &dyn HostMemory,
    size: u64,
) -> Result<DeviceMemory, AllocateError> {
    let mut pointer = vk::ImportMemoryHostPointerInfoEXT::default()
        .handle_type(HANDLE_TYPE)
        .host_pointer(memory.as_ptr().cast());
    let info = vk::MemoryAllocateInfo::default()
        .allocation_size(size)
        .push_next(&mut pointer);
    // SAFETY: the caller keeps the rules of pointer and size
    // (VUID-VkImportMemoryHostPointerInfoEXT-pHostPointer-01749, -handleType-01750,
    // VUID-VkMemoryAllocateInfo-allocationSize-01745); the type is one the device takes the memory
    // as (VUID-VkMemoryAllocateInfo-memoryTypeIndex-01744), and it is dedicated to nobody
    // (VUID-VkMemoryAllocateInfo-pNext-02806).
    unsafe { DeviceMemory::allocate(device, ty, source, info) }
}

/// Whether the driver refused memory for what it is.
pub fn refused(error: &AllocateError) -> bool {
    matches!(
        error,
        AllocateError::Device(DeviceError::Call {
            source: vk::Result::ERROR_INVALID_EXTERNAL_HANDLE,
            ..
        })
    )
}
