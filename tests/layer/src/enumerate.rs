//! Lists of the next entity's that are passed on, with the layer's additions.

use core::ffi::{CStr, c_char};
use core::ptr;

use ash::vk;

use crate::adapter::driver_extensions;
use crate::{LAYER, dispatch, fault};

/// `vkEnumeratePhysicalDevices`.
///
/// # Safety
/// The command's valid usage.
pub unsafe extern "system" fn enumerate_physical_devices(
    instance: vk::Instance,
    count: *mut u32,
    devices: *mut vk::PhysicalDevice,
) -> vk::Result {
    // SAFETY: VUID-vkEnumeratePhysicalDevices-instance-parameter.
    let Some(next) = (unsafe { dispatch::instance(&instance) }) else {
        return vk::Result::ERROR_UNKNOWN;
    };
    if let Err(fault) = fault::admit(c"vkEnumeratePhysicalDevices") {
        return fault;
    }
    // SAFETY: the next entity gets what this one got.
    unsafe { (next.functions.enumerate_physical_devices)(instance, count, devices) }
}

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
    let Some(next) = (unsafe { dispatch::instance(&device) }) else {
        return vk::Result::ERROR_UNKNOWN;
    };
    if let Err(fault) = fault::admit(c"vkEnumerateDeviceExtensionProperties") {
        return fault;
    }
    // SAFETY: VUID-vkEnumerateDeviceExtensionProperties-pLayerName-parameter: null or a string
    // that ends in a nul.
    let layer = (!layer_name.is_null()).then(|| unsafe { CStr::from_ptr(layer_name) });
    let visible = match layer {
        Some(name) if name == LAYER => {
            // The extensions that the layer adds belong to the device as the application sees it.
            Ok(Vec::new())
        }
        Some(name) if !name.is_empty() => {
            // SAFETY: the next entity gets what this one got.
            return unsafe {
                (next.functions.enumerate_device_extension_properties)(
                    device, layer_name, count, properties,
                )
            };
        }
        // SAFETY: the device belongs to the instance of `next`.
        _ => match unsafe { next.adapter(device) } {
            Some(adapter) => Ok(adapter.extensions()),
            // SAFETY: as above.
            None => unsafe { driver_extensions(&next, device) },
        },
    };
    match visible {
        // SAFETY: VUID-vkEnumerateDeviceExtensionProperties-pPropertyCount-parameter and
        // -pProperties-parameter.
        Ok(visible) => unsafe { answer(&visible, count, properties) },
        Err(error) => error,
    }
}

/// Answers a query for `list`: its length alone if `array` is null.
///
/// # Safety
/// `count` is valid, and `array` is null or has room for `*count` elements.
unsafe fn answer<T: Copy>(list: &[T], count: *mut u32, array: *mut T) -> vk::Result {
    let all = u32::try_from(list.len()).unwrap_or(u32::MAX);
    if array.is_null() {
        // SAFETY: the caller vouches for `count`.
        unsafe { count.write(all) };
        return vk::Result::SUCCESS;
    }
    // SAFETY: the caller vouches for `count`.
    let written = unsafe { count.read() }.min(all);
    // SAFETY: the caller vouches for room for `*count` elements; the list has as many.
    unsafe {
        ptr::copy_nonoverlapping(list.as_ptr(), array, written as usize);
        count.write(written);
    }
    if written < all {
        vk::Result::INCOMPLETE
    } else {
        vk::Result::SUCCESS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(list: &[u8], room: u32) -> (Vec<u8>, u32, vk::Result) {
        let mut array = [0; 4];
        let mut count = room;
        // SAFETY: an array of 4, and `room` is at most that.
        let result = unsafe { answer(list, &raw mut count, array.as_mut_ptr()) };
        (array[..count as usize].to_vec(), count, result)
    }

    #[test]
    fn answers_with_a_count_alone() {
        let mut count = 77;
        // SAFETY: a local count.
        let result = unsafe { answer(&[1, 2], &raw mut count, ptr::null_mut()) };
        assert_eq!((count, result), (2, vk::Result::SUCCESS));
    }

    #[test]
    fn answers_as_far_as_the_array_reaches() {
        assert_eq!(ask(&[1, 2], 4), (vec![1, 2], 2, vk::Result::SUCCESS));
        assert_eq!(ask(&[1, 2], 2), (vec![1, 2], 2, vk::Result::SUCCESS));
        assert_eq!(ask(&[1, 2], 1), (vec![1], 1, vk::Result::INCOMPLETE));
        assert_eq!(ask(&[1, 2], 0), (vec![], 0, vk::Result::INCOMPLETE));
    }
}
