//! What the application is told about external memory, and what the driver is asked instead.
//!
//! The layer's fds are memfds whose pages the driver imports as host memory, so a resource can
//! have them exactly if it can have host memory.

use ash::vk;
use ash::vk::ExternalMemoryFeatureFlags as Features;
use ash::vk::ExternalMemoryHandleTypeFlags as HandleTypes;

use crate::adapter::fd_types;
use crate::chain::{self, Chain, Kept, kept};
use crate::instance::Instance;
use crate::{dispatch, fault, modifier};

/// `vkGetPhysicalDeviceExternalBufferProperties`.
///
/// # Safety
/// The command's valid usage.
pub unsafe extern "system" fn get_physical_device_external_buffer_properties(
    device: vk::PhysicalDevice,
    info: *const vk::PhysicalDeviceExternalBufferInfo<'_>,
    properties: *mut vk::ExternalBufferProperties<'_>,
) {
    // SAFETY: VUID-vkGetPhysicalDeviceExternalBufferProperties-physicalDevice-parameter.
    let Some(next) = (unsafe { dispatch::instance(&device) }) else {
        return;
    };
    // SAFETY: VUID-vkGetPhysicalDeviceExternalBufferProperties-pExternalBufferInfo-parameter and
    // -pExternalBufferProperties-parameter; the device belongs to the instance.
    unsafe {
        if fd_types().contains((*info).handle_type)
            && next.adapter(device).is_some()
            && imports_host_buffers(&next, device, &*info)
        {
            (*properties).external_memory_properties = layer_properties();
        } else {
            (next
                .functions_1_1
                .get_physical_device_external_buffer_properties)(
                device, info, properties
            );
        }
    }
}

/// Whether the driver binds such buffers to host memory.
///
/// # Safety
/// `device` belongs to `next`, and `info` is valid but for the handle type.
pub unsafe fn imports_host_buffers(
    next: &Instance,
    device: vk::PhysicalDevice,
    info: &vk::PhysicalDeviceExternalBufferInfo<'_>,
) -> bool {
    let info = info.handle_type(HandleTypes::HOST_ALLOCATION_EXT);
    let mut properties = vk::ExternalBufferProperties::default();
    // SAFETY: the caller vouches for the device and the information.
    unsafe {
        (next
            .functions_1_1
            .get_physical_device_external_buffer_properties)(
            device,
            &raw const info,
            &raw mut properties,
        );
    }
    imports(&properties.external_memory_properties)
}

/// What an image query keeps of its chain.
const KEPT: [Kept; 3] = [
    kept::<vk::ImageFormatListCreateInfo<'_>>(),
    kept::<vk::ImageStencilUsageCreateInfo<'_>>(),
    kept::<vk::PhysicalDeviceImageViewImageFormatInfoEXT<'_>>(),
];

/// `vkGetPhysicalDeviceImageFormatProperties2`.
///
/// # Safety
/// The command's valid usage.
pub unsafe extern "system" fn get_physical_device_image_format_properties2(
    device: vk::PhysicalDevice,
    info: *const vk::PhysicalDeviceImageFormatInfo2<'_>,
    properties: *mut vk::ImageFormatProperties2<'_>,
) -> vk::Result {
    // SAFETY: VUID-vkGetPhysicalDeviceImageFormatProperties2-physicalDevice-parameter.
    let Some(next) = (unsafe { dispatch::instance(&device) }) else {
        return vk::Result::ERROR_UNKNOWN;
    };
    if let Err(fault) = fault::admit(c"vkGetPhysicalDeviceImageFormatProperties2") {
        return fault;
    }
    // SAFETY: the device belongs to the instance; the command's valid usage.
    unsafe {
        if next.adapter(device).is_some() {
            ask(&next, device, &*info, properties)
        } else {
            (next
                .functions_1_1
                .get_physical_device_image_format_properties2)(device, info, properties)
        }
    }
}

/// Asks the driver about linear tiling instead of modifiers, and host memory instead of fds.
///
/// # Safety
/// `device` belongs to `next`, and the others are valid for the command.
unsafe fn ask(
    next: &Instance,
    device: vk::PhysicalDevice,
    info: &vk::PhysicalDeviceImageFormatInfo2<'_>,
    properties: *mut vk::ImageFormatProperties2<'_>,
) -> vk::Result {
    // SAFETY: the caller vouches for the chain.
    let (asked, shared) = unsafe {
        (
            chain::find::<vk::PhysicalDeviceImageDrmFormatModifierInfoEXT<'_>>(info.p_next),
            chain::find::<vk::PhysicalDeviceExternalImageFormatInfo<'_>>(info.p_next),
        )
    };
    let linear = info.tiling == vk::ImageTiling::DRM_FORMAT_MODIFIER_EXT;
    let possible =
        asked.is_some_and(|asked| modifier::is_possible(info.format, asked.drm_format_modifier));
    if linear && !possible {
        return vk::Result::ERROR_FORMAT_NOT_SUPPORTED;
    }
    let ours = shared.is_some_and(|shared| shared.handle_type.intersects(fd_types()));
    let mut changed = *info;
    // SAFETY: the caller vouches for the chain.
    let mut chain = unsafe { Chain::copy(info.p_next, &KEPT) };
    if let Some(shared) = shared {
        let handle_type = if ours {
            HandleTypes::HOST_ALLOCATION_EXT
        } else {
            shared.handle_type
        };
        chain = chain
            .push(&vk::PhysicalDeviceExternalImageFormatInfo::default().handle_type(handle_type));
    }
    if linear {
        changed.tiling = vk::ImageTiling::LINEAR;
    }
    if linear || ours {
        changed.p_next = chain.head();
    }
    let query = next
        .functions_1_1
        .get_physical_device_image_format_properties2;
    // SAFETY: the next entity gets what this one got, with a tiling and a handle type it has.
    let result = unsafe { query(device, &raw const changed, properties) };
    if result != vk::Result::SUCCESS || !ours {
        return result;
    }
    // SAFETY: the caller vouches for the chain of `properties`.
    let answer = unsafe {
        chain::find_mut::<vk::ExternalImageFormatProperties<'_>>((*properties).p_next).as_mut()
    };
    match answer {
        Some(answer) if imports(&answer.external_memory_properties) => {
            answer.external_memory_properties = layer_properties();
            vk::Result::SUCCESS
        }
        Some(_) => vk::Result::ERROR_FORMAT_NOT_SUPPORTED,
        None => vk::Result::SUCCESS,
    }
}

/// Whether the driver binds images to host memory that are otherwise as `info` says.
///
/// # Safety
/// `device` belongs to `next`, and `info` is valid, without external memory in its chain.
pub unsafe fn imports_host_images(
    next: &Instance,
    device: vk::PhysicalDevice,
    mut info: vk::PhysicalDeviceImageFormatInfo2<'_>,
) -> bool {
    let mut external = vk::PhysicalDeviceExternalImageFormatInfo::default()
        .handle_type(HandleTypes::HOST_ALLOCATION_EXT);
    external.p_next = info.p_next;
    info.p_next = (&raw const external).cast();
    let mut answer = vk::ExternalImageFormatProperties::default();
    let mut properties = vk::ImageFormatProperties2::default().push_next(&mut answer);
    let query = next
        .functions_1_1
        .get_physical_device_image_format_properties2;
    // SAFETY: the caller vouches for the device and the information.
    let result = unsafe { query(device, &raw const info, &raw mut properties) };
    result == vk::Result::SUCCESS && imports(&answer.external_memory_properties)
}

fn imports(properties: &vk::ExternalMemoryProperties) -> bool {
    properties
        .external_memory_features
        .contains(Features::IMPORTABLE)
}

/// What can be done with the layer's fds.
fn layer_properties() -> vk::ExternalMemoryProperties {
    vk::ExternalMemoryProperties {
        external_memory_features: Features::EXPORTABLE | Features::IMPORTABLE,
        export_from_imported_handle_types: fd_types(),
        compatible_handle_types: fd_types(),
    }
}
