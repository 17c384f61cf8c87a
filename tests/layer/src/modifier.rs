//! VK_EXT_image_drm_format_modifier with DRM_FORMAT_MOD_LINEAR and nothing else, made of the
//! driver's linear tiling.

use core::ffi::c_void;
use core::{mem, ptr};

use ash::vk;

use crate::device::Device;
use crate::instance::Instance;
use crate::{chain, dispatch};

/// `DRM_FORMAT_MOD_LINEAR` of `drm_fourcc.h`.
const LINEAR: u64 = 0;

/// 32-bit formats with one plane, which have a fourcc.
const FORMATS: [vk::Format; 6] = [
    vk::Format::B8G8R8A8_UNORM,
    vk::Format::B8G8R8A8_SRGB,
    vk::Format::R8G8B8A8_UNORM,
    vk::Format::R8G8B8A8_SRGB,
    vk::Format::A2R10G10B10_UNORM_PACK32,
    vk::Format::A2B10G10R10_UNORM_PACK32,
];

/// Whether images of a format can have a modifier.
pub fn is_possible(format: vk::Format, modifier: u64) -> bool {
    FORMATS.contains(&format) && modifier == LINEAR
}

/// A layout that the application asks for.
#[derive(Clone, Copy, Debug)]
pub struct PlaneLayout {
    offset: u64,
    row_pitch: u64,
}

impl PlaneLayout {
    /// Whether the driver gave an image this layout.
    ///
    /// # Safety
    /// `image` is a live image of the device, made with linear tiling.
    pub unsafe fn is_of(self, next: &Device, image: vk::Image) -> bool {
        let plane = vk::ImageSubresource::default().aspect_mask(vk::ImageAspectFlags::COLOR);
        let mut layout = vk::SubresourceLayout::default();
        // SAFETY: the caller vouches for the image, which has a colour as all of `FORMATS` do.
        unsafe {
            (next.functions.v1_0.get_image_subresource_layout)(
                next.handle,
                image,
                &raw const plane,
                &raw mut layout,
            );
        }
        (layout.offset, layout.row_pitch) == (self.offset, self.row_pitch)
    }
}

/// Chooses the modifier of a new image, which can only be the one, and returns the layout that
/// the application asks for.
///
/// # Safety
/// `info` is valid and has the tiling of modifiers.
pub unsafe fn choose(info: &vk::ImageCreateInfo<'_>) -> Result<Option<PlaneLayout>, vk::Result> {
    // SAFETY: the caller vouches for the chain.
    let (list, explicit) = unsafe {
        (
            chain::find::<vk::ImageDrmFormatModifierListCreateInfoEXT<'_>>(info.p_next),
            chain::find::<vk::ImageDrmFormatModifierExplicitCreateInfoEXT<'_>>(info.p_next),
        )
    };
    if let Some(explicit) = explicit {
        if !is_possible(info.format, explicit.drm_format_modifier)
            || explicit.drm_format_modifier_plane_count != 1
        {
            return Err(vk::Result::ERROR_INVALID_DRM_FORMAT_MODIFIER_PLANE_LAYOUT_EXT);
        }
        // SAFETY: VUID-VkImageDrmFormatModifierExplicitCreateInfoEXT-pPlaneLayouts-parameter: an
        // array of one.
        let layout = unsafe { *explicit.p_plane_layouts };
        return Ok(Some(PlaneLayout {
            offset: layout.offset,
            row_pitch: layout.row_pitch,
        }));
    }
    let listed = list.is_some_and(|list| {
        let count = list.drm_format_modifier_count as usize;
        // SAFETY: VUID-VkImageDrmFormatModifierListCreateInfoEXT-pDrmFormatModifiers-parameter:
        // an array of as many, and never none.
        let modifiers = unsafe { core::slice::from_raw_parts(list.p_drm_format_modifiers, count) };
        modifiers
            .iter()
            .any(|&modifier| is_possible(info.format, modifier))
    });
    if listed {
        Ok(None)
    } else {
        Err(vk::Result::ERROR_FORMAT_NOT_SUPPORTED)
    }
}

/// `vkGetPhysicalDeviceFormatProperties2`.
///
/// # Safety
/// The command's valid usage.
pub unsafe extern "system" fn get_physical_device_format_properties2(
    device: vk::PhysicalDevice,
    format: vk::Format,
    properties: *mut vk::FormatProperties2<'_>,
) {
    // SAFETY: VUID-vkGetPhysicalDeviceFormatProperties2-physicalDevice-parameter.
    let Some(next) = (unsafe { dispatch::instance(&device) }) else {
        return;
    };
    let query = next.functions_1_1.get_physical_device_format_properties2;
    // SAFETY: the device belongs to the instance.
    if unsafe { next.adapter(device) }.is_none() {
        // SAFETY: the next entity gets what this one got.
        unsafe { query(device, format, properties) };
        return;
    }
    // SAFETY: VUID-vkGetPhysicalDeviceFormatProperties2-pFormatProperties-parameter.
    let lists = unsafe { Lists::take((*properties).p_next) };
    // SAFETY: the next entity gets what this one got, without the lists.
    unsafe { query(device, format, properties) };
    // SAFETY: the device belongs to the instance, and the lists to the chain.
    unsafe { lists.fill(&next, device, format) };
}

/// A list of modifiers in a chain of output structures, taken out of the driver's sight.
struct List<L, T> {
    list: *mut L,
    array: *mut T,
    room: u32,
}

/// Both kinds of list. Either may be missing.
struct Lists {
    first:
        List<vk::DrmFormatModifierPropertiesListEXT<'static>, vk::DrmFormatModifierPropertiesEXT>,
    second:
        List<vk::DrmFormatModifierPropertiesList2EXT<'static>, vk::DrmFormatModifierProperties2EXT>,
}

/// Writes a type of list: its structure and its count and array.
macro_rules! list {
    ($structure:ty, $element:ty) => {
        impl List<$structure, $element> {
            /// Finds the list and leaves the driver nothing to write to: llvmpipe writes an
            /// element without a look at the count.
            ///
            /// # Safety
            /// `chain` is a live chain of output structures.
            unsafe fn take(chain: *mut c_void) -> Self {
                // SAFETY: the caller vouches for the chain.
                let list = unsafe { chain::find_mut::<$structure>(chain) };
                // SAFETY: as above.
                let (array, room) = match unsafe { list.as_mut() } {
                    Some(list) => (
                        mem::replace(&mut list.p_drm_format_modifier_properties, ptr::null_mut()),
                        mem::take(&mut list.drm_format_modifier_count),
                    ),
                    None => (ptr::null_mut(), 0),
                };
                Self { list, array, room }
            }

            /// Gives the list back with `element` in it, or with nothing.
            ///
            /// # Safety
            /// The list is still there, and its array has the room that it had.
            unsafe fn answer(self, element: Option<$element>) {
                // SAFETY: the caller vouches for the list.
                let Some(list) = (unsafe { self.list.as_mut() }) else {
                    return;
                };
                list.p_drm_format_modifier_properties = self.array;
                list.drm_format_modifier_count = match element {
                    Some(_) if self.array.is_null() => 1,
                    Some(element) if self.room > 0 => {
                        // SAFETY: the caller vouches for the room.
                        unsafe { self.array.write(element) };
                        1
                    }
                    _ => 0,
                };
            }
        }
    };
}

list!(
    vk::DrmFormatModifierPropertiesListEXT<'static>,
    vk::DrmFormatModifierPropertiesEXT
);
list!(
    vk::DrmFormatModifierPropertiesList2EXT<'static>,
    vk::DrmFormatModifierProperties2EXT
);

impl Lists {
    /// Finds the lists and keeps the driver from them.
    ///
    /// # Safety
    /// `chain` is a live chain of output structures.
    unsafe fn take(chain: *mut c_void) -> Self {
        // SAFETY: the caller vouches for the chain.
        unsafe {
            Self {
                first: List::<vk::DrmFormatModifierPropertiesListEXT<'_>, _>::take(chain),
                second: List::<vk::DrmFormatModifierPropertiesList2EXT<'_>, _>::take(chain),
            }
        }
    }

    /// Answers with what linear tiling can do.
    ///
    /// # Safety
    /// `device` belongs to `next`, and the lists are still there.
    unsafe fn fill(self, next: &Instance, device: vk::PhysicalDevice, format: vk::Format) {
        let mut third = vk::FormatProperties3::default();
        let mut linear = vk::FormatProperties2::default().push_next(&mut third);
        // SAFETY: the caller vouches for the device; a driver without Vulkan 1.3 leaves the
        // chained structure alone.
        unsafe {
            (next.functions_1_1.get_physical_device_format_properties2)(
                device,
                format,
                &raw mut linear,
            );
        }
        let features = linear.format_properties.linear_tiling_features;
        let wide = third.linear_tiling_features
            | vk::FormatFeatureFlags2::from_raw(u64::from(features.as_raw()));
        let possible = is_possible(format, LINEAR) && !features.is_empty();
        let first = vk::DrmFormatModifierPropertiesEXT {
            drm_format_modifier: LINEAR,
            drm_format_modifier_plane_count: 1,
            drm_format_modifier_tiling_features: features,
        };
        let second = vk::DrmFormatModifierProperties2EXT {
            drm_format_modifier: LINEAR,
            drm_format_modifier_plane_count: 1,
            drm_format_modifier_tiling_features: wide,
        };
        // SAFETY: the caller vouches for the lists.
        unsafe {
            self.first.answer(possible.then_some(first));
            self.second.answer(possible.then_some(second));
        }
    }
}

/// `vkGetImageDrmFormatModifierPropertiesEXT`.
///
/// # Safety
/// The command's valid usage.
pub unsafe extern "system" fn get_image_drm_format_modifier_properties(
    device: vk::Device,
    image: vk::Image,
    properties: *mut vk::ImageDrmFormatModifierPropertiesEXT<'_>,
) -> vk::Result {
    // SAFETY: VUID-vkGetImageDrmFormatModifierPropertiesEXT-device-parameter.
    let Some(next) = (unsafe { dispatch::device(&device) }) else {
        return vk::Result::ERROR_UNKNOWN;
    };
    if let Err(fault) = next.admit(c"vkGetImageDrmFormatModifierPropertiesEXT") {
        return fault;
    }
    // VUID-vkGetImageDrmFormatModifierPropertiesEXT-image-02272: no other image is asked about.
    if !has_modifier(&next, image) {
        return vk::Result::ERROR_UNKNOWN;
    }
    // SAFETY: VUID-vkGetImageDrmFormatModifierPropertiesEXT-pProperties-parameter.
    unsafe { (*properties).drm_format_modifier = LINEAR };
    vk::Result::SUCCESS
}

/// Whether the application made an image with a modifier.
pub fn has_modifier(next: &Device, image: vk::Image) -> bool {
    next.images.get(image).is_some_and(|image| image.modifier)
}
