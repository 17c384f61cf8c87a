//! Buffers, made so that the driver may bind them to host memory.

use ash::vk;
use ash::vk::ExternalMemoryHandleTypeFlags as HandleTypes;
use ash::vk::Handle as _;

use crate::chain::{self, Chain, Kept, kept};
use crate::device::Device;
use crate::external::imports_host_buffers;
use crate::resource::Resource;
use crate::{dispatch, live};

/// Which structures of a buffer's chain reach the driver where the layer changes the chain.
const KEPT: [Kept; 3] = [
    kept::<vk::BufferUsageFlags2CreateInfoKHR<'_>>(),
    kept::<vk::BufferOpaqueCaptureAddressCreateInfo<'_>>(),
    kept::<vk::BufferDeviceAddressCreateInfoEXT<'_>>(),
];

/// `vkCreateBuffer`.
///
/// # Safety
/// The command's valid usage.
pub unsafe extern "system" fn create_buffer(
    device: vk::Device,
    info: *const vk::BufferCreateInfo<'_>,
    allocator: *const vk::AllocationCallbacks<'_>,
    buffer: *mut vk::Buffer,
) -> vk::Result {
    // SAFETY: VUID-vkCreateBuffer-device-parameter.
    let Some(next) = (unsafe { dispatch::device(&device) }) else {
        return vk::Result::ERROR_UNKNOWN;
    };
    if let Err(fault) = next.admit(c"vkCreateBuffer") {
        return fault;
    }
    // SAFETY: VUID-vkCreateBuffer-pCreateInfo-parameter.
    let adapted = unsafe { Adapted::new(&next, &*info) };
    // SAFETY: the next entity gets what this one got, with a handle type that it has.
    let result =
        unsafe { (next.functions.v1_0.create_buffer)(device, &adapted.info(), allocator, buffer) };
    if result == vk::Result::SUCCESS {
        // SAFETY: VUID-vkCreateBuffer-pBuffer-parameter, filled by the successful call.
        next.buffers.insert(unsafe { *buffer }, adapted.resource);
        live::created("VkBuffer");
    }
    result
}

/// `vkDestroyBuffer`.
///
/// # Safety
/// The command's valid usage.
pub unsafe extern "system" fn destroy_buffer(
    device: vk::Device,
    buffer: vk::Buffer,
    allocator: *const vk::AllocationCallbacks<'_>,
) {
    // SAFETY: VUID-vkDestroyBuffer-device-parameter.
    let Some(next) = (unsafe { dispatch::device(&device) }) else {
        return;
    };
    next.buffers.remove(buffer);
    // SAFETY: the next entity gets what this one got.
    unsafe { (next.functions.v1_0.destroy_buffer)(device, buffer, allocator) };
    if !buffer.is_null() {
        live::destroyed("VkBuffer");
    }
}

/// A buffer's information as the driver gets it.
struct Adapted<'a> {
    original: &'a vk::BufferCreateInfo<'a>,
    /// None where nothing changes.
    chain: Option<Chain>,
    resource: Resource,
}

impl<'a> Adapted<'a> {
    /// # Safety
    /// `info` is valid.
    unsafe fn new(next: &Device, info: &'a vk::BufferCreateInfo<'a>) -> Self {
        let unchanged = Self {
            original: info,
            chain: None,
            resource: Resource::Foreign,
        };
        if next.extended.is_none() {
            return unchanged;
        }
        // SAFETY: the caller vouches for the chain.
        let (external, chain) = unsafe {
            (
                chain::find::<vk::ExternalMemoryBufferCreateInfo<'_>>(info.p_next),
                Chain::copy(info.p_next, &KEPT),
            )
        };
        // SAFETY: as above.
        let usage = unsafe { chain::find::<vk::BufferUsageFlags2CreateInfoKHR<'_>>(info.p_next) };
        let mut query = vk::PhysicalDeviceExternalBufferInfo::default()
            .flags(info.flags)
            .usage(info.usage);
        let usage = usage.map(|usage| Chain::default().push(usage));
        if let Some(usage) = &usage {
            query.p_next = usage.head();
        }
        // SAFETY: the device's own instance and physical device; a usage that a buffer may have.
        if !unsafe { imports_host_buffers(&next.instance, next.physical, &query) } {
            return unchanged;
        }
        let host = vk::ExternalMemoryBufferCreateInfo::default()
            .handle_types(HandleTypes::HOST_ALLOCATION_EXT);
        Self {
            original: info,
            chain: Some(chain.push(&host)),
            resource: Resource::importable(
                external.map_or(HandleTypes::empty(), |external| external.handle_types),
            ),
        }
    }

    fn info(&self) -> vk::BufferCreateInfo<'_> {
        let mut info = *self.original;
        if let Some(chain) = &self.chain {
            info.p_next = chain.head();
        }
        info
    }
}

/// `vkGetBufferMemoryRequirements`.
///
/// # Safety
/// The command's valid usage.
pub unsafe extern "system" fn get_buffer_memory_requirements(
    device: vk::Device,
    buffer: vk::Buffer,
    requirements: *mut vk::MemoryRequirements,
) {
    // SAFETY: VUID-vkGetBufferMemoryRequirements-device-parameter.
    let Some(next) = (unsafe { dispatch::device(&device) }) else {
        return;
    };
    // SAFETY: the next entity gets what this one got, and fills `requirements`.
    unsafe {
        (next.functions.v1_0.get_buffer_memory_requirements)(device, buffer, requirements);
        widen(&next, known(&next, buffer), &mut *requirements);
    }
}

/// `vkGetBufferMemoryRequirements2`.
///
/// # Safety
/// The command's valid usage.
pub unsafe extern "system" fn get_buffer_memory_requirements2(
    device: vk::Device,
    info: *const vk::BufferMemoryRequirementsInfo2<'_>,
    requirements: *mut vk::MemoryRequirements2<'_>,
) {
    // SAFETY: VUID-vkGetBufferMemoryRequirements2-device-parameter.
    let Some(next) = (unsafe { dispatch::device(&device) }) else {
        return;
    };
    // SAFETY: the next entity gets what this one got, and fills `requirements`.
    unsafe {
        (next.functions.v1_1.get_buffer_memory_requirements2)(device, info, requirements);
        let resource = known(&next, (*info).buffer);
        widen(&next, resource, &mut (*requirements).memory_requirements);
    }
}

/// `vkGetDeviceBufferMemoryRequirements`.
///
/// # Safety
/// The command's valid usage.
pub unsafe extern "system" fn get_device_buffer_memory_requirements(
    device: vk::Device,
    info: *const vk::DeviceBufferMemoryRequirements<'_>,
    requirements: *mut vk::MemoryRequirements2<'_>,
) {
    // SAFETY: VUID-vkGetDeviceBufferMemoryRequirements-device-parameter.
    let Some(next) = (unsafe { dispatch::device(&device) }) else {
        return;
    };
    // SAFETY: VUID-VkDeviceBufferMemoryRequirements-pCreateInfo-parameter.
    let adapted = unsafe { Adapted::new(&next, &*(*info).p_create_info) };
    let create_info = adapted.info();
    // SAFETY: the next entity gets what this one got, with a handle type that it has, and fills
    // `requirements`.
    unsafe {
        let mut changed = *info;
        changed.p_create_info = &raw const create_info;
        (next.functions.v1_3.get_device_buffer_memory_requirements)(
            device,
            &raw const changed,
            requirements,
        );
        widen(
            &next,
            adapted.resource,
            &mut (*requirements).memory_requirements,
        );
    }
}

fn known(next: &Device, buffer: vk::Buffer) -> Resource {
    next.buffers
        .get(buffer)
        .map_or(Resource::Foreign, |resource| *resource)
}

fn widen(next: &Device, resource: Resource, requirements: &mut vk::MemoryRequirements) {
    requirements.memory_type_bits = next.memory_types(requirements.memory_type_bits, resource);
}
