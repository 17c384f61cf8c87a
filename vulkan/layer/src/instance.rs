//! Creation and destruction of instances, where the layer joins and leaves the call chain.

use core::ffi::{CStr, c_void};
use core::mem::transmute;
use std::os::unix::ffi::OsStrExt as _;

use ash::vk;
use ash::vk::Handle as _;

use crate::HIDE_VARIABLE;
use crate::abi::{LayerInstanceCreateInfo, VK_LAYER_LINK_INFO};
use crate::dispatch::{self, Instance, Key};
use crate::hidden::Hidden;

/// `vkCreateInstance` (LLI, "Layer Dispatch Initialization").
///
/// # Safety
/// As the loader calls a layer: the command's valid usage, and a `pNext` chain that carries this
/// layer's link.
pub unsafe extern "system" fn create_instance(
    create_info: *const vk::InstanceCreateInfo<'_>,
    allocator: *const vk::AllocationCallbacks<'_>,
    instance: *mut vk::Instance,
) -> vk::Result {
    // SAFETY: VUID-vkCreateInstance-pCreateInfo-parameter, and the loader's link in its chain.
    let next_lookup = unsafe { take_link((*create_info).p_next) };
    let Some(next_lookup) = next_lookup else {
        return vk::Result::ERROR_INITIALIZATION_FAILED;
    };
    // SAFETY: the link's function is the next entity's vkGetInstanceProcAddr, and the command
    // has the type of its name.
    let next_create = unsafe {
        lookup(next_lookup, vk::Instance::null(), c"vkCreateInstance")
            .map(|next| transmute::<VoidFunction, vk::PFN_vkCreateInstance>(next))
    };
    let Some(next_create) = next_create else {
        return vk::Result::ERROR_INITIALIZATION_FAILED;
    };
    // SAFETY: the next entity gets what this one got, with the link moved on to its own.
    let result = unsafe { next_create(create_info, allocator, instance) };
    if result != vk::Result::SUCCESS {
        return result;
    }
    // SAFETY: VUID-vkCreateInstance-pInstance-parameter, filled by the successful call.
    let created = unsafe { *instance };
    // SAFETY: as above for the lookup; `created` is the instance that it is asked about.
    let next = unsafe { next_functions(next_lookup, created) };
    // Only a broken chain lacks these Vulkan 1.0 commands, and it cannot be asked to clean up.
    let Some(next) = next else {
        return vk::Result::ERROR_INITIALIZATION_FAILED;
    };
    // SAFETY: the instance was created just now.
    dispatch::insert(unsafe { Key::of(&created) }, next);
    vk::Result::SUCCESS
}

/// `vkDestroyInstance`.
///
/// # Safety
/// The command's valid usage.
pub unsafe extern "system" fn destroy_instance(
    instance: vk::Instance,
    allocator: *const vk::AllocationCallbacks<'_>,
) {
    if instance.is_null() {
        return;
    }
    // The record goes first: once the next entity returns, the loader may give the same dispatch
    // table to a new instance.
    // SAFETY: VUID-vkDestroyInstance-instance-parameter: a live instance, as it is not null.
    if let Some(next) = dispatch::remove(unsafe { Key::of(&instance) }) {
        // SAFETY: the next entity gets what this one got.
        unsafe { (next.destroy_instance)(instance, allocator) };
    }
}

type VoidFunction = unsafe extern "system" fn();

/// Finds the layer's link, moves it on to the next layer's, and returns the next entity's lookup.
///
/// # Safety
/// `chain` is a `pNext` chain whose loader structures this call may change.
unsafe fn take_link(chain: *const c_void) -> Option<vk::PFN_vkGetInstanceProcAddr> {
    let mut structure = chain.cast::<vk::BaseInStructure<'_>>().cast_mut();
    while !structure.is_null() {
        // SAFETY: VUID-VkInstanceCreateInfo-pNext-pNext: every member starts like
        // VkBaseInStructure.
        let header = unsafe { structure.read() };
        if header.s_type == vk::StructureType::LOADER_INSTANCE_CREATE_INFO {
            let info = structure.cast::<LayerInstanceCreateInfo>();
            // SAFETY: the structure type says what it is; `function` lies before the union.
            if unsafe { (*info).function } == VK_LAYER_LINK_INFO {
                // SAFETY: the function says that the union holds `pLayerInfo`, whose links the
                // loader keeps through the call.
                unsafe {
                    let link = (*info).p_layer_info.as_ref()?;
                    (*info).p_layer_info = link.p_next;
                    return link.next_get_instance_proc_addr;
                }
            }
        }
        structure = header.p_next.cast_mut();
    }
    None
}

/// Asks the next entity for a function.
///
/// # Safety
/// `lookup` is a `vkGetInstanceProcAddr` that may be asked about `instance`.
unsafe fn lookup(
    lookup: vk::PFN_vkGetInstanceProcAddr,
    instance: vk::Instance,
    name: &CStr,
) -> Option<VoidFunction> {
    // SAFETY: the caller vouches for the pair; the name ends in a nul.
    unsafe { lookup(instance, name.as_ptr()) }
}

/// Gathers what the layer calls in the next entity.
///
/// # Safety
/// As for [`lookup`], with an instance that lives.
unsafe fn next_functions(
    next: vk::PFN_vkGetInstanceProcAddr,
    instance: vk::Instance,
) -> Option<Instance> {
    // SAFETY: the caller vouches for the pair, and each command has the type of its name.
    unsafe {
        let destroy = lookup(next, instance, c"vkDestroyInstance")?;
        let enumerate = lookup(next, instance, c"vkEnumerateDeviceExtensionProperties")?;
        Some(Instance {
            get_instance_proc_addr: next,
            destroy_instance: transmute::<VoidFunction, vk::PFN_vkDestroyInstance>(destroy),
            enumerate_device_extension_properties: transmute::<
                VoidFunction,
                vk::PFN_vkEnumerateDeviceExtensionProperties,
            >(enumerate),
            hidden: hidden(),
        })
    }
}

fn hidden() -> Hidden {
    std::env::var_os(HIDE_VARIABLE)
        .map(|list| Hidden::parse(list.as_bytes()))
        .unwrap_or_default()
}
