//! The loader's side of the interface, as declared in `vulkan/vk_layer.h`.

use core::ffi::{c_char, c_void};

use ash::vk;

/// `LAYER_NEGOTIATE_INTERFACE_STRUCT` of `VkNegotiateLayerStructType`.
pub const LAYER_NEGOTIATE_INTERFACE_STRUCT: i32 = 1;

/// `VK_LAYER_LINK_INFO` of `VkLayerFunction`.
pub const VK_LAYER_LINK_INFO: i32 = 0;

/// `PFN_GetPhysicalDeviceProcAddr`.
pub type GetPhysicalDeviceProcAddr =
    unsafe extern "system" fn(vk::Instance, *const c_char) -> vk::PFN_vkVoidFunction;

/// `VkNegotiateLayerInterface`.
#[repr(C)]
pub struct NegotiateLayerInterface {
    pub s_type: i32,
    pub p_next: *mut c_void,
    pub loader_layer_interface_version: u32,
    pub get_instance_proc_addr: Option<vk::PFN_vkGetInstanceProcAddr>,
    pub get_device_proc_addr: Option<vk::PFN_vkGetDeviceProcAddr>,
    pub get_physical_device_proc_addr: Option<GetPhysicalDeviceProcAddr>,
}

/// `VkLayerInstanceLink`.
#[repr(C)]
pub struct LayerInstanceLink {
    pub p_next: *mut LayerInstanceLink,
    pub next_get_instance_proc_addr: Option<vk::PFN_vkGetInstanceProcAddr>,
    pub next_get_physical_device_proc_addr: Option<GetPhysicalDeviceProcAddr>,
}

/// `VkLayerInstanceCreateInfo`.
///
/// `u` is a union in C. Of its arms only `pLayerInfo` is read, and only behind
/// [`VK_LAYER_LINK_INFO`]; the wider arms are never reached through this type.
#[repr(C)]
pub struct LayerInstanceCreateInfo {
    pub s_type: vk::StructureType,
    pub p_next: *const c_void,
    pub function: i32,
    pub p_layer_info: *mut LayerInstanceLink,
}
