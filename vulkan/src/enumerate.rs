//! Enumeration of the host's Vulkan devices.

use ash::vk;
use thiserror::Error;

use crate::adapter::{Adapter, AdapterKind, RenderNode};

/// Why the host's devices could not be listed.
#[derive(Debug, Error)]
pub enum EnumerateError {
    /// libvulkan.so.1 is missing.
    #[error("cannot load the Vulkan loader: install libvulkan1")]
    Loader(#[from] ash::LoadingError),
    /// A Vulkan call failed.
    #[error("{call} failed")]
    Call {
        /// The Vulkan function.
        call: &'static str,
        /// Its result.
        source: vk::Result,
    },
}

fn failed(call: &'static str) -> impl FnOnce(vk::Result) -> EnumerateError {
    move |source| EnumerateError::Call { call, source }
}

/// Lists every Vulkan 1.1 device of the host.
///
/// The instance lives only for the call: the render server is the one that renders.
///
/// # Errors
/// See [`EnumerateError`]. No driver at all is an empty list.
pub fn enumerate() -> Result<Vec<Adapter>, EnumerateError> {
    // SAFETY: the loader is a system library that upholds the Vulkan ABI; `entry` outlives every
    // function pointer taken from it.
    let entry = unsafe { ash::Entry::load() }?;
    let application = vk::ApplicationInfo::default().api_version(vk::API_VERSION_1_1);
    let create = vk::InstanceCreateInfo::default().application_info(&application);
    // SAFETY: `create` and what it points to live through the call.
    let instance = match unsafe { entry.create_instance(&create, None) } {
        Ok(instance) => instance,
        Err(vk::Result::ERROR_INCOMPATIBLE_DRIVER) => return Ok(Vec::new()),
        Err(source) => {
            return Err(EnumerateError::Call {
                call: "vkCreateInstance",
                source,
            });
        }
    };
    let adapters = list(&instance);
    // SAFETY: nothing made from the instance is left.
    unsafe { instance.destroy_instance(None) };
    adapters
}

fn list(instance: &ash::Instance) -> Result<Vec<Adapter>, EnumerateError> {
    // SAFETY: the instance is alive.
    let devices = unsafe { instance.enumerate_physical_devices() }
        .map_err(failed("vkEnumeratePhysicalDevices"))?;
    devices
        .into_iter()
        .filter_map(|device| describe(instance, device).transpose())
        .collect()
}

fn describe(
    instance: &ash::Instance,
    device: vk::PhysicalDevice,
) -> Result<Option<Adapter>, EnumerateError> {
    // SAFETY: `device` was enumerated from the live instance.
    let properties = unsafe { instance.get_physical_device_properties(device) };
    if properties.api_version < vk::API_VERSION_1_1 {
        return Ok(None);
    }
    // SAFETY: as above.
    let extensions = unsafe { instance.enumerate_device_extension_properties(device) }
        .map_err(failed("vkEnumerateDeviceExtensionProperties"))?;
    let has = |name| {
        extensions
            .iter()
            .any(|extension| extension.extension_name_as_c_str() == Ok(name))
    };
    let mut ids = vk::PhysicalDeviceIDProperties::default();
    let mut more = vk::PhysicalDeviceProperties2::default().push_next(&mut ids);
    // SAFETY: the device is Vulkan 1.1 and the chain lives through the call.
    unsafe { instance.get_physical_device_properties2(device, &mut more) };
    let name = properties.device_name_as_c_str().unwrap_or_default();
    Ok(Some(Adapter {
        name: name.to_string_lossy().into_owned(),
        kind: match properties.device_type {
            vk::PhysicalDeviceType::CPU => AdapterKind::Software,
            _ => AdapterKind::Hardware,
        },
        vendor_id: properties.vendor_id,
        device_id: properties.device_id,
        render_node: has(ash::ext::physical_device_drm::NAME)
            .then(|| render_node(instance, device))
            .flatten(),
        device_uuid: ids.device_uuid,
        driver_uuid: ids.driver_uuid,
        exports_dma_buf: has(ash::khr::external_memory_fd::NAME)
            && has(ash::ext::external_memory_dma_buf::NAME)
            && exports_dma_buf(instance, device),
    }))
}

fn render_node(instance: &ash::Instance, device: vk::PhysicalDevice) -> Option<RenderNode> {
    let mut drm = vk::PhysicalDeviceDrmPropertiesEXT::default();
    let mut properties = vk::PhysicalDeviceProperties2::default().push_next(&mut drm);
    // SAFETY: the device has VK_EXT_physical_device_drm (VUID-VkPhysicalDeviceProperties2-pNext)
    // and the chain lives through the call.
    unsafe { instance.get_physical_device_properties2(device, &mut properties) };
    (drm.has_render == vk::TRUE).then(|| RenderNode {
        major: u32::try_from(drm.render_major).unwrap_or(0),
        minor: u32::try_from(drm.render_minor).unwrap_or(0),
    })
}

fn exports_dma_buf(instance: &ash::Instance, device: vk::PhysicalDevice) -> bool {
    let info = vk::PhysicalDeviceExternalBufferInfo::default()
        .usage(vk::BufferUsageFlags::TRANSFER_SRC | vk::BufferUsageFlags::TRANSFER_DST)
        .handle_type(vk::ExternalMemoryHandleTypeFlags::DMA_BUF_EXT);
    let mut properties = vk::ExternalBufferProperties::default();
    // SAFETY: the instance is Vulkan 1.1, the handle type's extension is there
    // (VUID-VkPhysicalDeviceExternalBufferInfo-handleType-parameter).
    unsafe {
        instance.get_physical_device_external_buffer_properties(device, &info, &mut properties);
    }
    properties
        .external_memory_properties
        .external_memory_features
        .contains(vk::ExternalMemoryFeatureFlags::EXPORTABLE)
}
