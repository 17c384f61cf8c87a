//! The lookups through which the loader and the layers above find every function.

use core::ffi::{CStr, c_char};
use core::mem::transmute;

use ash::vk;
use ash::vk::Handle as _;

use crate::instance::VoidFunction;
use crate::{
    buffer, device, dispatch, enumerate, export, external, forward, image, instance, layout,
    mapping, memory, modifier, objects, properties,
};

/// `vkGetInstanceProcAddr`.
///
/// # Safety
/// VUID-vkGetInstanceProcAddr-instance-parameter and -pName-parameter.
pub unsafe extern "system" fn get_instance_proc_addr(
    instance: vk::Instance,
    name: *const c_char,
) -> vk::PFN_vkVoidFunction {
    if name.is_null() {
        return None;
    }
    // SAFETY: VUID-vkGetInstanceProcAddr-pName-parameter: a string that ends in a nul.
    let text = unsafe { CStr::from_ptr(name) }.to_str().ok()?;
    if let Some(global) = global(text) {
        return Some(global);
    }
    if instance.is_null() {
        return None;
    }
    // SAFETY: VUID-vkGetInstanceProcAddr-instance-parameter: a live instance, as it is not null.
    let next = unsafe { dispatch::instance(&instance) }?;
    // SAFETY: the next entity gets what this one got.
    let below = unsafe { (next.get_instance_proc_addr)(instance, name) };
    choose(
        text,
        instance_command(text).or_else(|| device_command(text)),
        below,
    )
}

/// `vkGetDeviceProcAddr`.
///
/// # Safety
/// VUID-vkGetDeviceProcAddr-device-parameter and -pName-parameter.
pub unsafe extern "system" fn get_device_proc_addr(
    device: vk::Device,
    name: *const c_char,
) -> vk::PFN_vkVoidFunction {
    if name.is_null() {
        return None;
    }
    // SAFETY: VUID-vkGetDeviceProcAddr-pName-parameter: a string that ends in a nul.
    let text = unsafe { CStr::from_ptr(name) }.to_str().ok()?;
    // SAFETY: VUID-vkGetDeviceProcAddr-device-parameter.
    let next = unsafe { dispatch::device(&device) }?;
    // SAFETY: the next entity gets what this one got.
    let below = unsafe { (next.get_device_proc_addr)(device, name) };
    choose(text, device_command(text), below)
}

/// The layer's own function, where the next entity has one to call or none is needed.
fn choose(
    name: &str,
    own: Option<VoidFunction>,
    below: Option<VoidFunction>,
) -> Option<VoidFunction> {
    match own {
        Some(own) if below.is_some() || MADE_HERE.contains(&name) => Some(own),
        _ => below,
    }
}

/// Commands that the layer has even where the driver has not.
const MADE_HERE: [&str; 3] = [
    "vkGetImageDrmFormatModifierPropertiesEXT",
    "vkGetMemoryFdKHR",
    "vkGetMemoryFdPropertiesKHR",
];

/// # Safety
/// `function` is a function pointer.
unsafe fn void(function: *const ()) -> VoidFunction {
    // SAFETY: the caller vouches for it; whoever asked by name calls it with that command's type.
    unsafe { transmute::<*const (), VoidFunction>(function) }
}

/// The functions found with any instance or none (LLI, "Layer Conventions and Rules").
fn global(name: &str) -> Option<VoidFunction> {
    let function = match name {
        "vkGetInstanceProcAddr" => get_instance_proc_addr as *const (),
        "vkCreateInstance" => instance::create_instance as *const (),
        _ => return None,
    };
    // SAFETY: a function pointer.
    Some(unsafe { void(function) })
}

/// The other functions dispatched through an instance that the layer intercepts.
fn instance_command(name: &str) -> Option<VoidFunction> {
    let function = match name {
        "vkDestroyInstance" => instance::destroy_instance as *const (),
        "vkEnumeratePhysicalDevices" => enumerate::enumerate_physical_devices as *const (),
        "vkEnumerateDeviceExtensionProperties" => {
            enumerate::enumerate_device_extension_properties as *const ()
        }
        "vkGetPhysicalDeviceProperties" => properties::get_physical_device_properties as *const (),
        "vkGetPhysicalDeviceProperties2" | "vkGetPhysicalDeviceProperties2KHR" => {
            properties::get_physical_device_properties2 as *const ()
        }
        "vkGetPhysicalDeviceMemoryProperties" => {
            properties::get_physical_device_memory_properties as *const ()
        }
        "vkGetPhysicalDeviceMemoryProperties2" | "vkGetPhysicalDeviceMemoryProperties2KHR" => {
            properties::get_physical_device_memory_properties2 as *const ()
        }
        "vkGetPhysicalDeviceExternalBufferProperties"
        | "vkGetPhysicalDeviceExternalBufferPropertiesKHR" => {
            external::get_physical_device_external_buffer_properties as *const ()
        }
        "vkGetPhysicalDeviceImageFormatProperties2"
        | "vkGetPhysicalDeviceImageFormatProperties2KHR" => {
            external::get_physical_device_image_format_properties2 as *const ()
        }
        "vkGetPhysicalDeviceFormatProperties2" | "vkGetPhysicalDeviceFormatProperties2KHR" => {
            modifier::get_physical_device_format_properties2 as *const ()
        }
        "vkCreateDevice" => device::create_device as *const (),
        _ => return None,
    };
    // SAFETY: a function pointer.
    Some(unsafe { void(function) })
}

/// The functions dispatched through a device that the layer intercepts.
fn device_command(name: &str) -> Option<VoidFunction> {
    let function = match name {
        "vkGetDeviceProcAddr" => get_device_proc_addr as *const (),
        "vkDestroyDevice" => device::destroy_device as *const (),
        "vkAllocateMemory" => memory::allocate_memory as *const (),
        "vkFreeMemory" => memory::free_memory as *const (),
        "vkMapMemory" => mapping::map_memory as *const (),
        "vkMapMemory2" | "vkMapMemory2KHR" => mapping::map_memory2 as *const (),
        "vkUnmapMemory" => mapping::unmap_memory as *const (),
        "vkUnmapMemory2" | "vkUnmapMemory2KHR" => mapping::unmap_memory2 as *const (),
        "vkFlushMappedMemoryRanges" => mapping::flush_mapped_memory_ranges as *const (),
        "vkInvalidateMappedMemoryRanges" => mapping::invalidate_mapped_memory_ranges as *const (),
        "vkGetMemoryFdKHR" => export::get_memory_fd as *const (),
        "vkGetMemoryFdPropertiesKHR" => export::get_memory_fd_properties as *const (),
        "vkGetMemoryHostPointerPropertiesEXT" => {
            export::get_memory_host_pointer_properties as *const ()
        }
        "vkCreateBuffer" => buffer::create_buffer as *const (),
        "vkDestroyBuffer" => buffer::destroy_buffer as *const (),
        "vkGetBufferMemoryRequirements" => buffer::get_buffer_memory_requirements as *const (),
        "vkGetBufferMemoryRequirements2" | "vkGetBufferMemoryRequirements2KHR" => {
            buffer::get_buffer_memory_requirements2 as *const ()
        }
        "vkGetDeviceBufferMemoryRequirements" | "vkGetDeviceBufferMemoryRequirementsKHR" => {
            buffer::get_device_buffer_memory_requirements as *const ()
        }
        "vkCreateImage" => image::create_image as *const (),
        "vkDestroyImage" => image::destroy_image as *const (),
        "vkGetImageMemoryRequirements" => image::get_image_memory_requirements as *const (),
        "vkGetImageMemoryRequirements2" | "vkGetImageMemoryRequirements2KHR" => {
            image::get_image_memory_requirements2 as *const ()
        }
        "vkGetDeviceImageMemoryRequirements" | "vkGetDeviceImageMemoryRequirementsKHR" => {
            image::get_device_image_memory_requirements as *const ()
        }
        "vkGetImageSubresourceLayout" => layout::get_image_subresource_layout as *const (),
        "vkGetImageSubresourceLayout2"
        | "vkGetImageSubresourceLayout2KHR"
        | "vkGetImageSubresourceLayout2EXT" => layout::get_image_subresource_layout2 as *const (),
        "vkGetDeviceImageSubresourceLayout" | "vkGetDeviceImageSubresourceLayoutKHR" => {
            layout::get_device_image_subresource_layout as *const ()
        }
        "vkGetImageDrmFormatModifierPropertiesEXT" => {
            modifier::get_image_drm_format_modifier_properties as *const ()
        }
        _ => forward::command(name).or_else(|| objects::command(name))?,
    };
    // SAFETY: a function pointer.
    Some(unsafe { void(function) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(name: &CStr) -> Option<VoidFunction> {
        // SAFETY: no instance, and a name that ends in a nul.
        unsafe { get_instance_proc_addr(vk::Instance::null(), name.as_ptr()) }
    }

    #[test]
    fn finds_global_commands_without_an_instance() {
        assert!(find(c"vkCreateInstance").is_some());
        assert!(find(c"vkGetInstanceProcAddr").is_some());
        assert!(find(c"vkDestroyInstance").is_none());
        assert!(find(c"vkAllocateMemory").is_none());
        // SAFETY: null is answered with null.
        let nameless = unsafe { get_instance_proc_addr(vk::Instance::null(), core::ptr::null()) };
        assert!(nameless.is_none());
    }

    #[test]
    fn offers_only_what_the_next_entity_has_or_the_layer_makes() {
        let below = find(c"vkCreateInstance");
        let offered = |name, below| choose(name, device_command(name), below).is_some();
        assert!(offered("vkMapMemory2", below));
        assert!(!offered("vkMapMemory2", None));
        assert!(offered("vkGetMemoryFdKHR", None));
        assert!(offered("vkCmdDraw", below));
        assert!(!offered("vkCmdDraw", None));
    }
}
