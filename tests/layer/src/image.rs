//! Images, made so that the driver may bind them to host memory.

use ash::vk;
use ash::vk::ExternalMemoryHandleTypeFlags as HandleTypes;
use ash::vk::Handle as _;

use crate::chain::{self, Chain, Kept, kept};
use crate::device::Device;
use crate::external::imports_host_images;
use crate::resource::Resource;
use crate::{dispatch, live};

/// Which structures of an image's chain reach the driver where the layer changes the chain.
const KEPT: [Kept; 3] = [
    kept::<vk::ImageFormatListCreateInfo<'_>>(),
    kept::<vk::ImageStencilUsageCreateInfo<'_>>(),
    kept::<vk::ImageCompressionControlEXT<'_>>(),
];

/// `vkCreateImage`.
///
/// # Safety
/// The command's valid usage.
pub unsafe extern "system" fn create_image(
    device: vk::Device,
    info: *const vk::ImageCreateInfo<'_>,
    allocator: *const vk::AllocationCallbacks<'_>,
    image: *mut vk::Image,
) -> vk::Result {
    // SAFETY: VUID-vkCreateImage-device-parameter.
    let Some(next) = (unsafe { dispatch::device(&device) }) else {
        return vk::Result::ERROR_UNKNOWN;
    };
    if let Err(fault) = next.admit(c"vkCreateImage") {
        return fault;
    }
    // SAFETY: VUID-vkCreateImage-pCreateInfo-parameter.
    let adapted = unsafe { Adapted::new(&next, &*info) };
    // SAFETY: the next entity gets what this one got, with a handle type that it has.
    let result =
        unsafe { (next.functions.v1_0.create_image)(device, &adapted.info(), allocator, image) };
    if result == vk::Result::SUCCESS {
        // SAFETY: VUID-vkCreateImage-pImage-parameter, filled by the successful call.
        next.images.insert(unsafe { *image }, adapted.resource);
        live::created("VkImage");
    }
    result
}

/// `vkDestroyImage`.
///
/// # Safety
/// The command's valid usage.
pub unsafe extern "system" fn destroy_image(
    device: vk::Device,
    image: vk::Image,
    allocator: *const vk::AllocationCallbacks<'_>,
) {
    // SAFETY: VUID-vkDestroyImage-device-parameter.
    let Some(next) = (unsafe { dispatch::device(&device) }) else {
        return;
    };
    next.images.remove(image);
    // SAFETY: the next entity gets what this one got.
    unsafe { (next.functions.v1_0.destroy_image)(device, image, allocator) };
    if !image.is_null() {
        live::destroyed("VkImage");
    }
}

/// An image's information as the driver gets it.
struct Adapted<'a> {
    original: &'a vk::ImageCreateInfo<'a>,
    /// None where nothing changes.
    chain: Option<Chain>,
    resource: Resource,
}

impl<'a> Adapted<'a> {
    /// # Safety
    /// `info` is valid.
    unsafe fn new(next: &Device, info: &'a vk::ImageCreateInfo<'a>) -> Self {
        let unchanged = Self {
            original: info,
            chain: None,
            resource: Resource::Foreign,
        };
        // SAFETY: the caller vouches for the chain.
        let (external, swapchain) = unsafe {
            (
                chain::find::<vk::ExternalMemoryImageCreateInfo<'_>>(info.p_next),
                chain::find::<vk::ImageSwapchainCreateInfoKHR<'_>>(info.p_next),
            )
        };
        // VUID-VkImageCreateInfo-pNext-01443: external memory has no contents to begin with.
        let possible = next.extended.is_some()
            && swapchain.is_none()
            && info.initial_layout == vk::ImageLayout::UNDEFINED;
        if !possible {
            return unchanged;
        }
        // SAFETY: as above.
        let chain = unsafe { Chain::copy(info.p_next, &KEPT) };
        let mut query = vk::PhysicalDeviceImageFormatInfo2::default()
            .format(info.format)
            .ty(info.image_type)
            .tiling(info.tiling)
            .usage(info.usage)
            .flags(info.flags);
        query.p_next = chain.head();
        // SAFETY: the device's own instance and physical device; the parameters of an image.
        if !unsafe { imports_host_images(&next.instance, next.physical, query) } {
            return unchanged;
        }
        let host = vk::ExternalMemoryImageCreateInfo::default()
            .handle_types(HandleTypes::HOST_ALLOCATION_EXT);
        Self {
            original: info,
            chain: Some(chain.push(&host)),
            resource: Resource::importable(
                external.map_or(HandleTypes::empty(), |external| external.handle_types),
            ),
        }
    }

    fn info(&self) -> vk::ImageCreateInfo<'_> {
        let mut info = *self.original;
        if let Some(chain) = &self.chain {
            info.p_next = chain.head();
        }
        info
    }
}

/// `vkGetImageMemoryRequirements`.
///
/// # Safety
/// The command's valid usage.
pub unsafe extern "system" fn get_image_memory_requirements(
    device: vk::Device,
    image: vk::Image,
    requirements: *mut vk::MemoryRequirements,
) {
    // SAFETY: VUID-vkGetImageMemoryRequirements-device-parameter.
    let Some(next) = (unsafe { dispatch::device(&device) }) else {
        return;
    };
    // SAFETY: the next entity gets what this one got, and fills `requirements`.
    unsafe {
        (next.functions.v1_0.get_image_memory_requirements)(device, image, requirements);
        widen(&next, known(&next, image), &mut *requirements);
    }
}

/// `vkGetImageMemoryRequirements2`.
///
/// # Safety
/// The command's valid usage.
pub unsafe extern "system" fn get_image_memory_requirements2(
    device: vk::Device,
    info: *const vk::ImageMemoryRequirementsInfo2<'_>,
    requirements: *mut vk::MemoryRequirements2<'_>,
) {
    // SAFETY: VUID-vkGetImageMemoryRequirements2-device-parameter.
    let Some(next) = (unsafe { dispatch::device(&device) }) else {
        return;
    };
    // SAFETY: the next entity gets what this one got, and fills `requirements`.
    unsafe {
        (next.functions.v1_1.get_image_memory_requirements2)(device, info, requirements);
        let resource = known(&next, (*info).image);
        widen(&next, resource, &mut (*requirements).memory_requirements);
    }
}

/// `vkGetDeviceImageMemoryRequirements`.
///
/// # Safety
/// The command's valid usage.
pub unsafe extern "system" fn get_device_image_memory_requirements(
    device: vk::Device,
    info: *const vk::DeviceImageMemoryRequirements<'_>,
    requirements: *mut vk::MemoryRequirements2<'_>,
) {
    // SAFETY: VUID-vkGetDeviceImageMemoryRequirements-device-parameter.
    let Some(next) = (unsafe { dispatch::device(&device) }) else {
        return;
    };
    // SAFETY: VUID-VkDeviceImageMemoryRequirements-pCreateInfo-parameter.
    let adapted = unsafe { Adapted::new(&next, &*(*info).p_create_info) };
    let create_info = adapted.info();
    // SAFETY: the next entity gets what this one got, with a handle type that it has, and fills
    // `requirements`.
    unsafe {
        let mut changed = *info;
        changed.p_create_info = &raw const create_info;
        (next.functions.v1_3.get_device_image_memory_requirements)(
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

fn known(next: &Device, image: vk::Image) -> Resource {
    next.images
        .get(image)
        .map_or(Resource::Foreign, |resource| *resource)
}

fn widen(next: &Device, resource: Resource, requirements: &mut vk::MemoryRequirements) {
    requirements.memory_type_bits = next.memory_types(requirements.memory_type_bits, resource);
}
