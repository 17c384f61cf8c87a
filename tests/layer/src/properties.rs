//! Properties of a physical device as the application sees them.

use std::sync::LazyLock;

use ash::vk;

use crate::dispatch;

/// Least `nonCoherentAtomSize`, in bytes; a power of two.
const ATOM_SIZE_VARIABLE: &str = "COHERD_LAYER_ATOM_SIZE";

/// Larger than any driver's, so that a range rounded to the driver's own is seen to be wrong.
const DEFAULT_ATOM_SIZE: u64 = 256;

static ATOM_SIZE: LazyLock<u64> = LazyLock::new(|| {
    std::env::var(ATOM_SIZE_VARIABLE)
        .ok()
        .and_then(|value| value.parse().ok())
        .filter(|size: &u64| size.is_power_of_two())
        .unwrap_or(DEFAULT_ATOM_SIZE)
});

/// `vkGetPhysicalDeviceProperties`.
///
/// # Safety
/// The command's valid usage.
pub unsafe extern "system" fn get_physical_device_properties(
    device: vk::PhysicalDevice,
    properties: *mut vk::PhysicalDeviceProperties,
) {
    // SAFETY: VUID-vkGetPhysicalDeviceProperties-physicalDevice-parameter.
    let Some(next) = (unsafe { dispatch::instance(&device) }) else {
        return;
    };
    // SAFETY: the next entity gets what this one got, and fills `properties`; the device belongs
    // to its instance.
    unsafe {
        (next.functions.get_physical_device_properties)(device, properties);
        if next.adapter(device).is_some() {
            raise(&mut (*properties).limits);
        }
    }
}

/// `vkGetPhysicalDeviceProperties2`.
///
/// # Safety
/// The command's valid usage.
pub unsafe extern "system" fn get_physical_device_properties2(
    device: vk::PhysicalDevice,
    properties: *mut vk::PhysicalDeviceProperties2<'_>,
) {
    // SAFETY: VUID-vkGetPhysicalDeviceProperties2-physicalDevice-parameter.
    let Some(next) = (unsafe { dispatch::instance(&device) }) else {
        return;
    };
    // SAFETY: the next entity gets what this one got, and fills `properties`; the device belongs
    // to its instance.
    unsafe {
        (next.functions_1_1.get_physical_device_properties2)(device, properties);
        if next.adapter(device).is_some() {
            raise(&mut (*properties).properties.limits);
        }
    }
}

fn raise(limits: &mut vk::PhysicalDeviceLimits) {
    limits.non_coherent_atom_size = limits.non_coherent_atom_size.max(*ATOM_SIZE);
}

/// `vkGetPhysicalDeviceMemoryProperties`.
///
/// # Safety
/// The command's valid usage.
pub unsafe extern "system" fn get_physical_device_memory_properties(
    device: vk::PhysicalDevice,
    properties: *mut vk::PhysicalDeviceMemoryProperties,
) {
    // SAFETY: VUID-vkGetPhysicalDeviceMemoryProperties-physicalDevice-parameter.
    let Some(next) = (unsafe { dispatch::instance(&device) }) else {
        return;
    };
    // SAFETY: the next entity gets what this one got, and fills `properties`; the device belongs
    // to its instance.
    unsafe {
        (next.functions.get_physical_device_memory_properties)(device, properties);
        if let Some(adapter) = next.adapter(device) {
            adapter.types.extend(&mut *properties);
        }
    }
}

/// `vkGetPhysicalDeviceMemoryProperties2`.
///
/// # Safety
/// The command's valid usage.
pub unsafe extern "system" fn get_physical_device_memory_properties2(
    device: vk::PhysicalDevice,
    properties: *mut vk::PhysicalDeviceMemoryProperties2<'_>,
) {
    // SAFETY: VUID-vkGetPhysicalDeviceMemoryProperties2-physicalDevice-parameter.
    let Some(next) = (unsafe { dispatch::instance(&device) }) else {
        return;
    };
    // SAFETY: the next entity gets what this one got, and fills `properties`; the device belongs
    // to its instance.
    unsafe {
        (next.functions_1_1.get_physical_device_memory_properties2)(device, properties);
        if let Some(adapter) = next.adapter(device) {
            adapter.types.extend(&mut (*properties).memory_properties);
        }
    }
}
