//! The handshake with the loader.

use ash::vk;

use crate::abi::{LAYER_NEGOTIATE_INTERFACE_STRUCT, NegotiateLayerInterface};
use crate::proc_addr::{get_device_proc_addr, get_instance_proc_addr};

/// The interface this layer is written for, and the first that has the handshake.
const INTERFACE_VERSION: u32 = 2;

/// Tells the loader which functions of the layer to call (LLI, "Layer Version Negotiation").
///
/// # Safety
/// `interface` is null or points to a `VkNegotiateLayerInterface` that nothing else touches
/// during the call.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn vkNegotiateLoaderLayerInterfaceVersion(
    interface: *mut NegotiateLayerInterface,
) -> vk::Result {
    // SAFETY: the caller passes null or a structure that is ours for the call.
    let Some(interface) = (unsafe { interface.as_mut() }) else {
        return vk::Result::ERROR_INITIALIZATION_FAILED;
    };
    if interface.s_type != LAYER_NEGOTIATE_INTERFACE_STRUCT
        || interface.loader_layer_interface_version < INTERFACE_VERSION
    {
        return vk::Result::ERROR_INITIALIZATION_FAILED;
    }
    interface.loader_layer_interface_version = INTERFACE_VERSION;
    interface.get_instance_proc_addr = Some(get_instance_proc_addr);
    interface.get_device_proc_addr = Some(get_device_proc_addr);
    // LLI, "Layer Unknown Physical Device Extensions": only for commands the loader may not know.
    interface.get_physical_device_proc_addr = None;
    vk::Result::SUCCESS
}

#[cfg(test)]
mod tests {
    use core::ptr;

    use super::*;

    fn negotiate(s_type: i32, version: u32) -> (vk::Result, NegotiateLayerInterface) {
        let mut interface = NegotiateLayerInterface {
            s_type,
            p_next: ptr::null_mut(),
            loader_layer_interface_version: version,
            get_instance_proc_addr: None,
            get_device_proc_addr: None,
            get_physical_device_proc_addr: None,
        };
        // SAFETY: the structure is a local that lives through the call.
        let result = unsafe { vkNegotiateLoaderLayerInterfaceVersion(&raw mut interface) };
        (result, interface)
    }

    #[test]
    fn settles_on_version_two() {
        for offered in [2, 3] {
            let (result, interface) = negotiate(LAYER_NEGOTIATE_INTERFACE_STRUCT, offered);
            assert_eq!(result, vk::Result::SUCCESS);
            assert_eq!(interface.loader_layer_interface_version, 2);
            assert!(interface.get_instance_proc_addr.is_some());
            assert!(interface.get_device_proc_addr.is_some());
        }
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        for (s_type, version) in [(LAYER_NEGOTIATE_INTERFACE_STRUCT, 1), (0, 2)] {
            let (result, interface) = negotiate(s_type, version);
            assert_eq!(result, vk::Result::ERROR_INITIALIZATION_FAILED);
            assert!(interface.get_instance_proc_addr.is_none());
        }
        // SAFETY: null is allowed.
        let result = unsafe { vkNegotiateLoaderLayerInterfaceVersion(ptr::null_mut()) };
        assert_eq!(result, vk::Result::ERROR_INITIALIZATION_FAILED);
    }
}
