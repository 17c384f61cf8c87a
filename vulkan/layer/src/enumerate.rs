//! The device extensions as the application sees them.

use core::ffi::{CStr, c_char};
use core::mem::MaybeUninit;
use core::{ptr, slice};

use ash::vk;

use crate::LAYER_NAME;
use crate::dispatch::{self, Instance, Key};
use crate::hidden::fill;

/// `vkEnumerateDeviceExtensionProperties`.
///
/// # Safety
/// The command's valid usage.
pub unsafe extern "system" fn enumerate_device_extension_properties(
    device: vk::PhysicalDevice,
    layer_name: *const c_char,
    count: *mut u32,
    properties: *mut vk::ExtensionProperties,
) -> vk::Result {
    // SAFETY: VUID-vkEnumerateDeviceExtensionProperties-physicalDevice-parameter.
    let Some(next) = dispatch::get(unsafe { Key::of(&device) }) else {
        return vk::Result::ERROR_UNKNOWN;
    };
    // SAFETY: VUID-vkEnumerateDeviceExtensionProperties-pLayerName-parameter: null or a string
    // that ends in a nul.
    let layer = (!layer_name.is_null()).then(|| unsafe { CStr::from_ptr(layer_name) });
    // The loader takes an empty name for none, and so asks the driver.
    let asks_driver = layer.is_none_or(CStr::is_empty);
    let visible = if layer == Some(LAYER_NAME) {
        Vec::new()
    } else if asks_driver && !next.hidden.is_empty() {
        // SAFETY: the device is valid, and belongs to the instance of `next`.
        match unsafe { visible(&next, device) } {
            Ok(extensions) => extensions,
            Err(error) => return error,
        }
    } else {
        // SAFETY: the next entity gets what this one got.
        return unsafe {
            (next.enumerate_device_extension_properties)(device, layer_name, count, properties)
        };
    };
    // SAFETY: VUID-vkEnumerateDeviceExtensionProperties-pPropertyCount-parameter and
    // -pProperties-parameter.
    unsafe { answer(&visible, count, properties) }
}

/// Lists the driver's extensions, less the hidden ones.
///
/// # Safety
/// `device` is valid and belongs to the instance of `next`.
unsafe fn visible(
    next: &Instance,
    device: vk::PhysicalDevice,
) -> Result<Vec<vk::ExtensionProperties>, vk::Result> {
    let enumerate = next.enumerate_device_extension_properties;
    loop {
        let mut count = 0;
        // SAFETY: a count query of a valid device.
        unsafe { enumerate(device, ptr::null(), &raw mut count, ptr::null_mut()) }.result()?;
        let room = count as usize;
        let mut list = Vec::new();
        list.try_reserve_exact(room)
            .map_err(|_| vk::Result::ERROR_OUT_OF_HOST_MEMORY)?;
        // SAFETY: the list has room for `count` elements.
        let result = unsafe { enumerate(device, ptr::null(), &raw mut count, list.as_mut_ptr()) };
        // The list may have grown between the two calls.
        if result == vk::Result::INCOMPLETE {
            continue;
        }
        result.result()?;
        // SAFETY: the call set `count` to the number of elements it wrote, at most `room`.
        unsafe { list.set_len(room.min(count as usize)) };
        list.retain(|extension| !next.hidden.hides(extension));
        return Ok(list);
    }
}

/// Answers a query for `extensions`: their number alone if `properties` is null.
///
/// # Safety
/// `count` is valid, and `properties` is null or, unless `*count` is 0, an array of `*count`
/// elements.
unsafe fn answer(
    extensions: &[vk::ExtensionProperties],
    count: *mut u32,
    properties: *mut vk::ExtensionProperties,
) -> vk::Result {
    // SAFETY: the caller vouches for `count`.
    let room = unsafe { *count } as usize;
    let (written, result) = if properties.is_null() {
        (extensions.len(), vk::Result::SUCCESS)
    } else if room == 0 {
        // A caller without room may pass any pointer, which no slice can be made of.
        fill(extensions, &mut [])
    } else {
        let array = properties.cast::<MaybeUninit<vk::ExtensionProperties>>();
        // SAFETY: the caller vouches for an array of `room` elements, not necessarily initialised.
        fill(extensions, unsafe {
            slice::from_raw_parts_mut(array, room)
        })
    };
    // SAFETY: the caller vouches for `count`. The list came from a 32-bit count and only shrank.
    unsafe { *count = u32::try_from(written).unwrap_or(u32::MAX) };
    result
}
