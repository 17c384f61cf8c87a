//! The loader's side of the interface, as declared in `vulkan/vk_layer.h`.

use core::ffi::{c_char, c_void};

use ash::vk;

/// `LAYER_NEGOTIATE_INTERFACE_STRUCT` of `VkNegotiateLayerStructType`.
pub const LAYER_NEGOTIATE_INTERFACE_STRUCT: i32 = 1;

/// `VK_LAYER_LINK_INFO` of `VkLayerFunction`.
const VK_LAYER_LINK_INFO: i32 = 0;

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
#[derive(Clone, Copy)]
#[repr(C)]
pub struct InstanceLink {
    p_next: *mut Self,
    pub next_get_instance_proc_addr: Option<vk::PFN_vkGetInstanceProcAddr>,
    next_get_physical_device_proc_addr: Option<GetPhysicalDeviceProcAddr>,
}

/// `VkLayerDeviceLink`.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct DeviceLink {
    p_next: *mut Self,
    pub next_get_instance_proc_addr: Option<vk::PFN_vkGetInstanceProcAddr>,
    pub next_get_device_proc_addr: Option<vk::PFN_vkGetDeviceProcAddr>,
}

/// `VkLayerInstanceCreateInfo` and `VkLayerDeviceCreateInfo`, which differ in their links.
///
/// `u` is a union in C. Of its arms only `pLayerInfo` is read, and only behind
/// [`VK_LAYER_LINK_INFO`]; the wider arms are never reached through this type.
#[repr(C)]
struct LayerCreateInfo<L> {
    s_type: vk::StructureType,
    p_next: *const c_void,
    function: i32,
    p_layer_info: *mut L,
}

/// A layer's entry in the list of links that the loader chains to a creation.
///
/// # Safety
/// The type is the one that structures of type `STRUCTURE_TYPE` link to.
pub unsafe trait Link: Copy {
    /// The structure that carries the links.
    const STRUCTURE_TYPE: vk::StructureType;

    /// The link of the layer below.
    fn below(self) -> *mut Self;
}

// SAFETY: `VkLayerInstanceCreateInfo::pLayerInfo`.
unsafe impl Link for InstanceLink {
    const STRUCTURE_TYPE: vk::StructureType = vk::StructureType::LOADER_INSTANCE_CREATE_INFO;

    fn below(self) -> *mut Self {
        self.p_next
    }
}

// SAFETY: `VkLayerDeviceCreateInfo::pLayerInfo`.
unsafe impl Link for DeviceLink {
    const STRUCTURE_TYPE: vk::StructureType = vk::StructureType::LOADER_DEVICE_CREATE_INFO;

    fn below(self) -> *mut Self {
        self.p_next
    }
}

/// Finds the layer's link and moves the list on to the layer below.
///
/// # Safety
/// `chain` is the `pNext` chain of the creation, whose loader structures this call may change.
pub unsafe fn take_link<L: Link>(chain: *const c_void) -> Option<L> {
    let mut structure = chain.cast::<vk::BaseInStructure<'_>>().cast_mut();
    while !structure.is_null() {
        // SAFETY: every member of a chain starts like VkBaseInStructure.
        let header = unsafe { structure.read() };
        if header.s_type == L::STRUCTURE_TYPE {
            let info = structure.cast::<LayerCreateInfo<L>>();
            // SAFETY: the structure type says what it is; `function` lies before the union.
            if unsafe { (*info).function } == VK_LAYER_LINK_INFO {
                // SAFETY: the function says that the union holds `pLayerInfo`, whose links the
                // loader keeps through the call.
                unsafe {
                    let link = *(*info).p_layer_info.as_ref()?;
                    (*info).p_layer_info = link.below();
                    return Some(link);
                }
            }
        }
        structure = header.p_next.cast_mut();
    }
    None
}
