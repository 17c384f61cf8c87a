//! Enumeration of the host's Vulkan devices.

use ash::vk;
use coherd_protocol::memory::MemoryProperties;

use crate::adapter::{Adapter, AdapterKind, RenderNode};
use crate::error::DeviceError;
use crate::extensions::Extensions;
use crate::external::external_buffers;
use crate::instance::{EnumerateError, Instance};
use crate::loader;
use crate::options::Options;

/// Lists every Vulkan 1.1 device of the host.
///
/// The instance lives only for the call.
///
/// # Errors
/// See [`EnumerateError`]. No driver at all is an empty list.
pub fn enumerate() -> Result<Vec<Adapter>, EnumerateError> {
    let Some(instance) = Instance::new(&Options::default())? else {
        return Ok(Vec::new());
    };
    let devices = list(&instance)?;
    Ok(devices.into_iter().map(|(_, adapter)| adapter).collect())
}

/// The Vulkan 1.1 devices of `instance`.
///
/// # Errors
/// Those of the Vulkan calls.
pub fn list(instance: &Instance) -> Result<Vec<(vk::PhysicalDevice, Adapter)>, DeviceError> {
    let alone = loader::lock();
    // SAFETY: the instance is alive.
    let devices = unsafe { instance.raw().enumerate_physical_devices() }
        .map_err(|result| DeviceError::new("vkEnumeratePhysicalDevices", result))?;
    drop(alone);
    let mut adapters = Vec::new();
    for device in devices {
        if let Some(adapter) = describe(instance.raw(), device)? {
            adapters.push((device, adapter));
        }
    }
    Ok(adapters)
}

/// The extensions of a device that this crate uses, but for those in `without`.
///
/// # Errors
/// That of vkEnumerateDeviceExtensionProperties.
pub fn extensions(
    instance: &ash::Instance,
    device: vk::PhysicalDevice,
    without: &[String],
) -> Result<Extensions, DeviceError> {
    // SAFETY: `device` was enumerated from the live instance.
    let available = unsafe { instance.enumerate_device_extension_properties(device) }
        .map_err(|result| DeviceError::new("vkEnumerateDeviceExtensionProperties", result))?;
    Ok(Extensions::choose(&available, without))
}

fn describe(
    instance: &ash::Instance,
    device: vk::PhysicalDevice,
) -> Result<Option<Adapter>, DeviceError> {
    // SAFETY: `device` was enumerated from the live instance.
    let properties = unsafe { instance.get_physical_device_properties(device) };
    if properties.api_version < vk::API_VERSION_1_1 {
        return Ok(None);
    }
    let extensions = extensions(instance, device, &[])?;
    let mut ids = vk::PhysicalDeviceIDProperties::default();
    let mut drm = vk::PhysicalDeviceDrmPropertiesEXT::default();
    let mut more = vk::PhysicalDeviceProperties2::default().push_next(&mut ids);
    if extensions.contains(Extensions::DRM) {
        more = more.push_next(&mut drm);
    }
    // SAFETY: the device is Vulkan 1.1, each structure of the chain is one of the device's
    // (VUID-VkPhysicalDeviceProperties2-pNext-pNext), and the chain lives through the call.
    unsafe { instance.get_physical_device_properties2(device, &mut more) };
    let name = properties.device_name_as_c_str().unwrap_or_default();
    Ok(Some(Adapter {
        name: name.to_string_lossy().into_owned(),
        kind: match properties.device_type {
            vk::PhysicalDeviceType::CPU => AdapterKind::Software,
            _ => AdapterKind::Hardware,
        },
        integrated: match properties.device_type {
            vk::PhysicalDeviceType::INTEGRATED_GPU => Some(true),
            vk::PhysicalDeviceType::DISCRETE_GPU => Some(false),
            _ => None,
        },
        vendor_id: properties.vendor_id,
        device_id: properties.device_id,
        render_node: (drm.has_render == vk::TRUE).then(|| RenderNode {
            major: u32::try_from(drm.render_major).unwrap_or(0),
            minor: u32::try_from(drm.render_minor).unwrap_or(0),
        }),
        device_uuid: ids.device_uuid,
        driver_uuid: ids.driver_uuid,
        exports_dma_buf: extensions.contains(Extensions::DMA_BUF)
            && external_buffers(
                instance,
                device,
                vk::ExternalMemoryHandleTypeFlags::DMA_BUF_EXT,
                vk::BufferUsageFlags::TRANSFER_SRC | vk::BufferUsageFlags::TRANSFER_DST,
            )
            .contains(vk::ExternalMemoryFeatureFlags::EXPORTABLE),
        memory_types: memory_types(instance, device),
    }))
}

fn memory_types(instance: &ash::Instance, device: vk::PhysicalDevice) -> Vec<MemoryProperties> {
    // SAFETY: `device` was enumerated from the live instance.
    let memory = unsafe { instance.get_physical_device_memory_properties(device) };
    memory
        .memory_types_as_slice()
        .iter()
        .map(|kind| MemoryProperties::from_bits_truncate(kind.property_flags.as_raw()))
        .collect()
}
