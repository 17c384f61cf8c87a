//! Where an image's texels are: the plane of an image with a modifier is the driver's colour.

use ash::vk;

use crate::dispatch;
use crate::image_info::ImageInfo;
use crate::modifier::has_modifier;

/// `vkGetImageSubresourceLayout`.
///
/// # Safety
/// The command's valid usage.
pub unsafe extern "system" fn get_image_subresource_layout(
    device: vk::Device,
    image: vk::Image,
    subresource: *const vk::ImageSubresource,
    layout: *mut vk::SubresourceLayout,
) {
    // SAFETY: VUID-vkGetImageSubresourceLayout-device-parameter.
    let Some(next) = (unsafe { dispatch::device(&device) }) else {
        return;
    };
    // SAFETY: VUID-vkGetImageSubresourceLayout-pSubresource-parameter.
    let mut asked = unsafe { *subresource };
    if has_modifier(&next, image) {
        asked.aspect_mask = vk::ImageAspectFlags::COLOR;
    }
    // SAFETY: the next entity gets what this one got, with the aspect of a linear image.
    unsafe {
        (next.functions.v1_0.get_image_subresource_layout)(device, image, &raw const asked, layout);
    }
}

/// `vkGetImageSubresourceLayout2`.
///
/// # Safety
/// The command's valid usage.
pub unsafe extern "system" fn get_image_subresource_layout2(
    device: vk::Device,
    image: vk::Image,
    subresource: *const vk::ImageSubresource2KHR<'_>,
    layout: *mut vk::SubresourceLayout2KHR<'_>,
) {
    // SAFETY: VUID-vkGetImageSubresourceLayout2-device-parameter.
    let Some(next) = (unsafe { dispatch::device(&device) }) else {
        return;
    };
    // SAFETY: VUID-vkGetImageSubresourceLayout2-pSubresource-parameter.
    let mut asked = unsafe { *subresource };
    if has_modifier(&next, image) {
        asked.image_subresource.aspect_mask = vk::ImageAspectFlags::COLOR;
    }
    // SAFETY: the next entity gets what this one got, with the aspect of a linear image.
    unsafe {
        (next
            .functions
            .maintenance5
            .get_image_subresource_layout2_khr)(device, image, &raw const asked, layout);
    }
}

/// `vkGetDeviceImageSubresourceLayout`.
///
/// # Safety
/// The command's valid usage.
pub unsafe extern "system" fn get_device_image_subresource_layout(
    device: vk::Device,
    info: *const vk::DeviceImageSubresourceInfoKHR<'_>,
    layout: *mut vk::SubresourceLayout2KHR<'_>,
) {
    // SAFETY: VUID-vkGetDeviceImageSubresourceLayout-device-parameter.
    let Some(next) = (unsafe { dispatch::device(&device) }) else {
        return;
    };
    // SAFETY: VUID-vkGetDeviceImageSubresourceLayout-pInfo-parameter.
    let (mut asked, mut subresource) = unsafe { (*info, *(*info).p_subresource) };
    // SAFETY: VUID-VkDeviceImageSubresourceInfo-pCreateInfo-parameter.
    let Ok(image) = (unsafe { ImageInfo::new(&next, &*asked.p_create_info) }) else {
        return;
    };
    let create_info = image.get();
    if image.image.modifier {
        subresource.image_subresource.aspect_mask = vk::ImageAspectFlags::COLOR;
    }
    asked.p_create_info = &raw const create_info;
    asked.p_subresource = &raw const subresource;
    // SAFETY: the next entity gets what this one got, with a tiling that it has.
    unsafe {
        (next
            .functions
            .maintenance5
            .get_device_image_subresource_layout_khr)(device, &raw const asked, layout);
    }
}
