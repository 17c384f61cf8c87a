//! Instances: where the layer joins and leaves the call chain, and what it finds below.

use core::ffi::{CStr, c_void};
use core::mem::transmute;
use core::ptr;
use std::collections::HashMap;
use std::ffi::CString;
use std::sync::{Arc, Mutex, PoisonError};

use ash::vk;
use ash::vk::Handle as _;

use crate::abi::{InstanceLink, take_link};
use crate::adapter::Adapter;
use crate::dispatch::{INSTANCES, Key};
use crate::{fault, live};

/// A function of which only the name is known.
pub type VoidFunction = unsafe extern "system" fn();

/// An instance, and the next entity of its call chain.
pub struct Instance {
    pub handle: vk::Instance,
    pub get_instance_proc_addr: vk::PFN_vkGetInstanceProcAddr,
    pub functions: ash::InstanceFnV1_0,
    /// Those of Vulkan 1.1 or the extensions they come from.
    pub functions_1_1: ash::InstanceFnV1_1,
    /// None for a device to which the layer adds nothing.
    adapters: Mutex<HashMap<vk::PhysicalDevice, Option<Arc<Adapter>>>>,
}

impl Instance {
    /// # Safety
    /// `next` is the next entity's vkGetInstanceProcAddr, and `handle` its live instance.
    unsafe fn new(next: vk::PFN_vkGetInstanceProcAddr, handle: vk::Instance) -> Self {
        let mut load = |name: &CStr| {
            // SAFETY: the caller vouches for the pair.
            let mut find = |name: &CStr| unsafe { next(handle, name.as_ptr()) };
            address(with_aliases(name, &mut find))
        };
        Self {
            handle,
            get_instance_proc_addr: next,
            functions: ash::InstanceFnV1_0::load(&mut load),
            functions_1_1: ash::InstanceFnV1_1::load(&mut load),
            adapters: Mutex::default(),
        }
    }

    /// What the layer adds to a device, if it adds anything.
    ///
    /// # Safety
    /// `device` is a physical device of this instance.
    pub unsafe fn adapter(&self, device: vk::PhysicalDevice) -> Option<Arc<Adapter>> {
        let mut adapters = self.adapters.lock().unwrap_or_else(PoisonError::into_inner);
        adapters
            .entry(device)
            // SAFETY: the caller vouches for the device. Nothing below comes back to this layer.
            .or_insert_with(|| unsafe { Adapter::new(self, device) }.map(Arc::new))
            .clone()
    }
}

/// Looks a command up by its name, then by the names it has as an extension or in the core.
pub fn with_aliases(
    name: &CStr,
    find: &mut dyn FnMut(&CStr) -> Option<VoidFunction>,
) -> Option<VoidFunction> {
    if let Some(function) = find(name) {
        return Some(function);
    }
    let name = name.to_bytes();
    let core = name.strip_suffix(b"KHR").unwrap_or(name);
    [b"".as_slice(), b"KHR", b"EXT"]
        .into_iter()
        .filter_map(|suffix| CString::new([core, suffix].concat()).ok())
        .find_map(|name| find(&name))
}

/// The address of a function as ash's tables take it.
pub fn address(function: Option<VoidFunction>) -> *const c_void {
    function.map_or(ptr::null(), |function| function as *const c_void)
}

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
    if let Err(fault) = fault::admit(c"vkCreateInstance") {
        return fault;
    }
    // SAFETY: VUID-vkCreateInstance-pCreateInfo-parameter, and the loader's link in its chain.
    let link = unsafe { take_link::<InstanceLink>((*create_info).p_next) };
    let Some(next) = link.and_then(|link| link.next_get_instance_proc_addr) else {
        return vk::Result::ERROR_INITIALIZATION_FAILED;
    };
    // SAFETY: the link's function is the next entity's vkGetInstanceProcAddr.
    let create = unsafe { next(vk::Instance::null(), c"vkCreateInstance".as_ptr()) };
    let Some(create) = create else {
        return vk::Result::ERROR_INITIALIZATION_FAILED;
    };
    // SAFETY: the command has the type of its name.
    let create = unsafe { transmute::<VoidFunction, vk::PFN_vkCreateInstance>(create) };
    // SAFETY: the next entity gets what this one got, with the link moved on to its own.
    let result = unsafe { create(create_info, allocator, instance) };
    if result != vk::Result::SUCCESS {
        return result;
    }
    // SAFETY: VUID-vkCreateInstance-pInstance-parameter, filled by the successful call.
    let handle = unsafe { *instance };
    // SAFETY: the instance was created just now by the entity that `next` belongs to.
    unsafe { INSTANCES.insert(Key::of(&handle), Instance::new(next, handle)) };
    live::created("VkInstance");
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
    if let Some(next) = INSTANCES.remove(unsafe { Key::of(&instance) }) {
        // SAFETY: the next entity gets what this one got.
        unsafe { (next.functions.destroy_instance)(instance, allocator) };
        live::destroyed("VkInstance");
    }
}
