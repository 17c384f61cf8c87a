//! The lookup through which the loader and the layers above find every function.

use core::ffi::{CStr, c_char};
use core::mem::transmute;

use ash::vk;
use ash::vk::Handle as _;

use crate::dispatch::{self, Key};
use crate::enumerate::enumerate_device_extension_properties;
use crate::instance::{create_instance, destroy_instance};

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
    let name = unsafe { CStr::from_ptr(name) };
    if let Some(global) = global(name) {
        return Some(global);
    }
    if instance.is_null() {
        return None;
    }
    if let Some(own) = own(name) {
        return Some(own);
    }
    // SAFETY: VUID-vkGetInstanceProcAddr-instance-parameter: a live instance, as it is not null.
    let next = dispatch::get(unsafe { Key::of(&instance) })?;
    // SAFETY: the next entity gets what this one got.
    unsafe { (next.get_instance_proc_addr)(instance, name.as_ptr()) }
}

type VoidFunction = unsafe extern "system" fn();

/// The functions found with any instance or none (LLI, "Layer Conventions and Rules").
fn global(name: &CStr) -> Option<VoidFunction> {
    let function = match name.to_bytes() {
        b"vkGetInstanceProcAddr" => get_instance_proc_addr as *const (),
        b"vkCreateInstance" => create_instance as *const (),
        _ => return None,
    };
    // SAFETY: a function pointer; whoever asked by name calls it with that command's type.
    Some(unsafe { transmute::<*const (), VoidFunction>(function) })
}

/// The other functions that the layer intercepts.
fn own(name: &CStr) -> Option<VoidFunction> {
    let function = match name.to_bytes() {
        b"vkDestroyInstance" => destroy_instance as *const (),
        b"vkEnumerateDeviceExtensionProperties" => {
            enumerate_device_extension_properties as *const ()
        }
        _ => return None,
    };
    // SAFETY: as in `global`.
    Some(unsafe { transmute::<*const (), VoidFunction>(function) })
}
