//! Devices: where the layer joins and leaves the call chain, and what it keeps of each.

use core::ffi::CStr;
use core::mem::transmute;
use core::{ptr, slice};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ash::vk;
use ash::vk::Handle as _;

use crate::abi::{DeviceLink, take_link};
use crate::adapter::Adapter;
use crate::dispatch::{self, DEVICES, Key};
use crate::image_info::Image;
use crate::instance::{Instance, VoidFunction, address, with_aliases};
use crate::memory::Memory;
use crate::pages::{Pages, Sides};
use crate::registry::Registry;
use crate::resource::Resource;
use crate::{fault, live};

/// What fails on a device that was lost, beside what is made to.
const REPORT_LOSS: [&CStr; 10] = [
    c"vkDeviceWaitIdle",
    c"vkGetFenceStatus",
    c"vkGetQueryPoolResults",
    c"vkGetSemaphoreCounterValue",
    c"vkQueueBindSparse",
    c"vkQueueSubmit",
    c"vkQueueSubmit2",
    c"vkQueueWaitIdle",
    c"vkWaitForFences",
    c"vkWaitSemaphores",
];

/// The next entity's functions.
pub struct Functions {
    pub v1_0: ash::DeviceFnV1_0,
    pub v1_1: ash::DeviceFnV1_1,
    pub v1_2: ash::DeviceFnV1_2,
    pub v1_3: ash::DeviceFnV1_3,
    pub external_memory_fd: ash::khr::external_memory_fd::DeviceFn,
    pub external_memory_host: ash::ext::external_memory_host::DeviceFn,
    pub external_fence_fd: ash::khr::external_fence_fd::DeviceFn,
    pub external_semaphore_fd: ash::khr::external_semaphore_fd::DeviceFn,
    pub maintenance5: ash::khr::maintenance5::DeviceFn,
    pub map_memory2: ash::khr::map_memory2::DeviceFn,
}

/// A device, and the next entity of its call chain.
pub struct Device {
    pub handle: vk::Device,
    pub physical: vk::PhysicalDevice,
    pub instance: Arc<Instance>,
    pub get_device_proc_addr: vk::PFN_vkGetDeviceProcAddr,
    pub functions: Functions,
    /// None where the layer adds nothing but faults.
    pub extended: Option<Extended>,
    pub memories: Registry<vk::DeviceMemory, Memory>,
    pub buffers: Registry<vk::Buffer, Resource>,
    pub images: Registry<vk::Image, Image>,
    lost: AtomicBool,
}

/// What the layer adds to a device.
pub struct Extended {
    pub adapter: Arc<Adapter>,
    /// The driver's memory types that the layer's pages can be imported as.
    pub importable: u32,
}

impl Extended {
    /// The memory types of a resource, given those the driver names.
    pub fn memory_types(&self, driver: u32, resource: Resource) -> u32 {
        let own = self.adapter.types.widen(driver & self.importable) & !driver;
        match resource {
            Resource::Foreign => driver,
            Resource::Importable => driver | own,
            Resource::Shared => (driver & self.importable) | own,
        }
    }
}

impl Device {
    /// Counts a call of a fallible command and fails it if a fault is due, or if the device was
    /// lost by one.
    pub fn admit(&self, command: &'static CStr) -> Result<(), vk::Result> {
        let admitted = fault::admit(command);
        if admitted == Err(vk::Result::ERROR_DEVICE_LOST) {
            self.lost.store(true, Ordering::Relaxed);
        }
        if !self.lost.load(Ordering::Relaxed) {
            return admitted;
        }
        if admitted.is_err() || REPORT_LOSS.contains(&command) {
            // The application may free what a lost device works on, and the driver still does.
            // SAFETY: the device is live. Its queues are synchronised as the application does it
            // for the calls that wait and submit, which for a test is all there is.
            let _ = unsafe { (self.functions.v1_0.device_wait_idle)(self.handle) };
            return admitted.and(Err(vk::Result::ERROR_DEVICE_LOST));
        }
        Ok(())
    }

    /// The memory types of a resource, given those the driver names.
    pub fn memory_types(&self, driver: u32, resource: Resource) -> u32 {
        self.extended
            .as_ref()
            .map_or(driver, |extended| extended.memory_types(driver, resource))
    }
}

/// `vkCreateDevice` (LLI, "Layer Dispatch Initialization").
///
/// # Safety
/// As the loader calls a layer: the command's valid usage, and a `pNext` chain that carries this
/// layer's link.
pub unsafe extern "system" fn create_device(
    physical: vk::PhysicalDevice,
    create_info: *const vk::DeviceCreateInfo<'_>,
    allocator: *const vk::AllocationCallbacks<'_>,
    device: *mut vk::Device,
) -> vk::Result {
    // SAFETY: VUID-vkCreateDevice-physicalDevice-parameter.
    let Some(instance) = (unsafe { dispatch::instance(&physical) }) else {
        return vk::Result::ERROR_INITIALIZATION_FAILED;
    };
    if let Err(fault) = fault::admit(c"vkCreateDevice") {
        return fault;
    }
    // SAFETY: VUID-vkCreateDevice-pCreateInfo-parameter.
    let create_info = unsafe { &*create_info };
    // SAFETY: the chain carries the loader's link.
    let link = unsafe { take_link::<DeviceLink>(create_info.p_next) };
    let Some((Some(next_instance), Some(next))) = link.map(|link| {
        (
            link.next_get_instance_proc_addr,
            link.next_get_device_proc_addr,
        )
    }) else {
        return vk::Result::ERROR_INITIALIZATION_FAILED;
    };
    // SAFETY: the link's function is the next entity's vkGetInstanceProcAddr.
    let create = unsafe { next_instance(instance.handle, c"vkCreateDevice".as_ptr()) };
    let Some(create) = create else {
        return vk::Result::ERROR_INITIALIZATION_FAILED;
    };
    // SAFETY: the command has the type of its name.
    let create = unsafe { transmute::<VoidFunction, vk::PFN_vkCreateDevice>(create) };
    // SAFETY: the device belongs to the instance.
    let adapter = unsafe { instance.adapter(physical) };
    // SAFETY: VUID-VkDeviceCreateInfo-ppEnabledExtensionNames-parameter.
    let names = unsafe { enabled_extensions(create_info, adapter.as_deref()) };
    let changed = create_info.enabled_extension_names(&names);
    // SAFETY: the next entity gets what this one got, with the link moved on to its own and the
    // extensions that it has.
    let result = unsafe { create(physical, &raw const changed, allocator, device) };
    if result != vk::Result::SUCCESS {
        return result;
    }
    // SAFETY: VUID-vkCreateDevice-pDevice-parameter, filled by the successful call.
    let handle = unsafe { *device };
    // SAFETY: the device was created just now by the entity that `next` belongs to.
    let functions = unsafe { Functions::load(next, handle) };
    // SAFETY: as above; the adapter's device was created with the extension.
    let extended = adapter.and_then(|adapter| unsafe { extend(adapter, &functions, handle) });
    let record = Device {
        handle,
        physical,
        instance,
        get_device_proc_addr: next,
        functions,
        extended,
        memories: Registry::default(),
        buffers: Registry::default(),
        images: Registry::default(),
        lost: AtomicBool::new(false),
    };
    // SAFETY: the device is live.
    DEVICES.insert(unsafe { Key::of(&handle) }, record);
    live::created("VkDevice");
    vk::Result::SUCCESS
}

/// `vkDestroyDevice`.
///
/// # Safety
/// The command's valid usage.
pub unsafe extern "system" fn destroy_device(
    device: vk::Device,
    allocator: *const vk::AllocationCallbacks<'_>,
) {
    if device.is_null() {
        return;
    }
    // The record goes first, as that of an instance.
    // SAFETY: VUID-vkDestroyDevice-device-parameter: a live device, as it is not null.
    if let Some(next) = DEVICES.remove(unsafe { Key::of(&device) }) {
        // SAFETY: the next entity gets what this one got.
        unsafe { (next.functions.v1_0.destroy_device)(device, allocator) };
        live::destroyed("VkDevice");
    }
}

/// # Safety
/// The names of `create_info` are valid.
unsafe fn enabled_extensions(
    create_info: &vk::DeviceCreateInfo<'_>,
    adapter: Option<&Adapter>,
) -> Vec<*const core::ffi::c_char> {
    let count = create_info.enabled_extension_count as usize;
    let names = if count == 0 {
        &[]
    } else {
        // SAFETY: VUID-VkDeviceCreateInfo-ppEnabledExtensionNames-parameter: an array of as many.
        unsafe { slice::from_raw_parts(create_info.pp_enabled_extension_names, count) }
    };
    match adapter {
        // SAFETY: the caller vouches for the strings.
        Some(adapter) => unsafe { adapter.enable(names) },
        None => names.to_vec(),
    }
}

/// Finds out which memory types the layer's pages can be.
///
/// # Safety
/// `functions` are those of the live `device`, which has VK_EXT_external_memory_host.
unsafe fn extend(
    adapter: Arc<Adapter>,
    functions: &Functions,
    device: vk::Device,
) -> Option<Extended> {
    let probe = Pages::new(Sides::One, 1).ok()?;
    let mut properties = vk::MemoryHostPointerPropertiesEXT::default();
    let query = functions
        .external_memory_host
        .get_memory_host_pointer_properties_ext;
    // SAFETY: the pages are mapped through the call
    // (VUID-vkGetMemoryHostPointerPropertiesEXT-pHostPointer-01753 and following).
    let result = unsafe {
        query(
            device,
            vk::ExternalMemoryHandleTypeFlags::HOST_ALLOCATION_EXT,
            probe.gpu().as_ptr().cast(),
            ptr::from_mut(&mut properties),
        )
    };
    Some(Extended {
        adapter,
        importable: match result {
            vk::Result::SUCCESS => properties.memory_type_bits,
            _ => 0,
        },
    })
}

impl Functions {
    /// # Safety
    /// `next` is the next entity's vkGetDeviceProcAddr, and `device` its live device.
    unsafe fn load(next: vk::PFN_vkGetDeviceProcAddr, device: vk::Device) -> Self {
        let mut load = |name: &CStr| {
            // SAFETY: the caller vouches for the pair.
            let mut find = |name: &CStr| unsafe { next(device, name.as_ptr()) };
            address(with_aliases(name, &mut find))
        };
        Self {
            v1_0: ash::DeviceFnV1_0::load(&mut load),
            v1_1: ash::DeviceFnV1_1::load(&mut load),
            v1_2: ash::DeviceFnV1_2::load(&mut load),
            v1_3: ash::DeviceFnV1_3::load(&mut load),
            external_memory_fd: ash::khr::external_memory_fd::DeviceFn::load(&mut load),
            external_memory_host: ash::ext::external_memory_host::DeviceFn::load(&mut load),
            external_fence_fd: ash::khr::external_fence_fd::DeviceFn::load(&mut load),
            external_semaphore_fd: ash::khr::external_semaphore_fd::DeviceFn::load(&mut load),
            maintenance5: ash::khr::maintenance5::DeviceFn::load(&mut load),
            map_memory2: ash::khr::map_memory2::DeviceFn::load(&mut load),
        }
    }
}
