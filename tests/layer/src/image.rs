//! Images, made so that the driver may bind them to host memory.

use ash::vk;
use ash::vk::Handle as _;

use crate::device::Device;
use crate::image_info::ImageInfo;
use crate::resource::Resource;
use crate::{dispatch, live};

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
    let changed = match unsafe { ImageInfo::new(&next, &*info) } {
        Ok(changed) => changed,
        Err(error) => return error,
    };
    // SAFETY: the next entity gets what this one got, with a handle type and a tiling that it has.
    let result =
        unsafe { (next.functions.v1_0.create_image)(device, &changed.get(), allocator, image) };
    if result != vk::Result::SUCCESS {
        return result;
    }
    // SAFETY: VUID-vkCreateImage-pImage-parameter, filled by the successful call.
    let created = unsafe { *image };
    let fits = changed
        .layout
        // SAFETY: the image was created just now, with the tiling that a layout goes with.
        .is_none_or(|layout| unsafe { layout.is_of(&next, created) });
    if !fits {
        // SAFETY: nobody else knows the image.
        unsafe { (next.functions.v1_0.destroy_image)(device, created, allocator) };
        return vk::Result::ERROR_INVALID_DRM_FORMAT_MODIFIER_PLANE_LAYOUT_EXT;
    }
    next.images.insert(created, changed.image);
    live::created("VkImage");
    vk::Result::SUCCESS
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
    let Ok(image) = (unsafe { ImageInfo::new(&next, &*(*info).p_create_info) }) else {
        return;
    };
    let create_info = image.get();
    // SAFETY: the next entity gets what this one got, with a handle type and a tiling that it has, and fills
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
            image.image.resource,
            &mut (*requirements).memory_requirements,
        );
    }
}

fn known(next: &Device, image: vk::Image) -> Resource {
    next.images
        .get(image)
        .map_or(Resource::Foreign, |image| image.resource)
}

fn widen(next: &Device, resource: Resource, requirements: &mut vk::MemoryRequirements) {
    requirements.memory_type_bits = next.memory_types(requirements.memory_type_bits, resource);
}
