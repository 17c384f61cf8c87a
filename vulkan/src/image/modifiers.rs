//! Which images the device makes: VK_EXT_image_drm_format_modifier, asked once.

use ash::vk;
use coherd_protocol::blob_context::command::ImageUsage;

use crate::error::DeviceError;
use crate::extensions::Extensions;
use crate::image::FormatModifier;
use crate::image::format::{FORMATS, Format};
use crate::logical::LogicalDevice;

const DMA_BUF: vk::ExternalMemoryHandleTypeFlags = vk::ExternalMemoryHandleTypeFlags::DMA_BUF_EXT;

/// A format with a modifier.
#[derive(Clone, Copy)]
pub struct Candidate {
    /// What callers see of it.
    pub info: FormatModifier,
    /// The format.
    pub format: Format,
    /// What Vulkan can do with images of it.
    features: vk::FormatFeatureFlags,
}

/// What images of a format, modifier and usage can be.
#[derive(Clone, Copy)]
pub struct Limits {
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Bytes.
    pub size: u64,
    /// Whether they can be exported as dma-buf, and then only with memory of their own.
    pub external: vk::ExternalMemoryFeatureFlags,
}

impl Candidate {
    /// The usage for Vulkan, of what was asked for and copies.
    pub fn usage(&self, wanted: ImageUsage) -> vk::ImageUsageFlags {
        const ALWAYS: ImageUsage = ImageUsage::empty();
        const FLAGS: [(ImageUsage, vk::FormatFeatureFlags, vk::ImageUsageFlags); 4] = [
            (
                ImageUsage::SAMPLED,
                vk::FormatFeatureFlags::SAMPLED_IMAGE,
                vk::ImageUsageFlags::SAMPLED,
            ),
            (
                ImageUsage::COLOR,
                vk::FormatFeatureFlags::COLOR_ATTACHMENT,
                vk::ImageUsageFlags::COLOR_ATTACHMENT,
            ),
            (
                ALWAYS,
                vk::FormatFeatureFlags::TRANSFER_SRC,
                vk::ImageUsageFlags::TRANSFER_SRC,
            ),
            (
                ALWAYS,
                vk::FormatFeatureFlags::TRANSFER_DST,
                vk::ImageUsageFlags::TRANSFER_DST,
            ),
        ];
        FLAGS
            .into_iter()
            .filter(|(bit, feature, _)| wanted.contains(*bit) && self.features.contains(*feature))
            .fold(vk::ImageUsageFlags::empty(), |usage, (.., flag)| {
                usage | flag
            })
    }

    /// What images of `usage` can be; `None` if there are none.
    ///
    /// # Errors
    /// That of vkGetPhysicalDeviceImageFormatProperties2.
    pub fn limits(
        &self,
        device: &LogicalDevice,
        usage: vk::ImageUsageFlags,
        handle_type: vk::ExternalMemoryHandleTypeFlags,
    ) -> Result<Option<Limits>, DeviceError> {
        // VUID-VkPhysicalDeviceImageFormatInfo2-usage-requiredbitmask
        if usage.is_empty() {
            return Ok(None);
        }
        let mut modifier = vk::PhysicalDeviceImageDrmFormatModifierInfoEXT::default()
            .drm_format_modifier(self.info.modifier)
            .sharing_mode(vk::SharingMode::EXCLUSIVE);
        let mut external =
            vk::PhysicalDeviceExternalImageFormatInfo::default().handle_type(handle_type);
        let mut info = vk::PhysicalDeviceImageFormatInfo2::default()
            .format(self.format.vulkan)
            .ty(vk::ImageType::TYPE_2D)
            .tiling(vk::ImageTiling::DRM_FORMAT_MODIFIER_EXT)
            .usage(usage)
            .push_next(&mut modifier);
        let mut shared = vk::ExternalImageFormatProperties::default();
        let mut properties = vk::ImageFormatProperties2::default();
        if !handle_type.is_empty() {
            info = info.push_next(&mut external);
            properties = properties.push_next(&mut shared);
        }
        // SAFETY: the device has VK_EXT_image_drm_format_modifier, the tiling is that of the chain
        // (VUID-VkPhysicalDeviceImageFormatInfo2-tiling-02249), and the chains live through the
        // call.
        let result = unsafe {
            device
                .instance()
                .get_physical_device_image_format_properties2(
                    device.physical(),
                    &info,
                    &mut properties,
                )
        };
        if result == Err(vk::Result::ERROR_FORMAT_NOT_SUPPORTED) {
            return Ok(None);
        }
        device.outcome("vkGetPhysicalDeviceImageFormatProperties2", result)?;
        let limits = properties.image_format_properties;
        Ok(Some(Limits {
            width: limits.max_extent.width,
            height: limits.max_extent.height,
            size: limits.max_resource_size,
            external: shared.external_memory_properties.external_memory_features,
        }))
    }
}

/// All formats and modifiers of which the device makes images.
///
/// # Errors
/// Those of the calls.
pub fn candidates(device: &LogicalDevice) -> Result<Vec<Candidate>, DeviceError> {
    let mut candidates = Vec::new();
    if !device.has(Extensions::MODIFIERS) {
        return Ok(candidates);
    }
    for format in FORMATS {
        for properties in modifiers(device, format.vulkan) {
            if let Some(candidate) = candidate(device, format, &properties)? {
                candidates.push(candidate);
            }
        }
    }
    Ok(candidates)
}

fn candidate(
    device: &LogicalDevice,
    format: Format,
    properties: &vk::DrmFormatModifierPropertiesEXT,
) -> Result<Option<Candidate>, DeviceError> {
    let features = properties.drm_format_modifier_tiling_features;
    let mut usage = ImageUsage::empty();
    let sampled = features.contains(vk::FormatFeatureFlags::SAMPLED_IMAGE);
    let color = features.contains(vk::FormatFeatureFlags::COLOR_ATTACHMENT);
    usage.set(ImageUsage::SAMPLED, sampled);
    usage.set(ImageUsage::COLOR, color);
    let mut candidate = Candidate {
        info: FormatModifier {
            fourcc: format.fourcc,
            modifier: properties.drm_format_modifier,
            planes: properties.drm_format_modifier_plane_count,
            usage,
            exportable: false,
        },
        format,
        features,
    };
    let flags = candidate.usage(usage);
    let shared = candidate.limits(device, flags, DMA_BUF)?;
    let exportable = shared.is_some_and(|limits| {
        limits
            .external
            .contains(vk::ExternalMemoryFeatureFlags::EXPORTABLE)
    });
    let none = vk::ExternalMemoryHandleTypeFlags::empty();
    if !exportable && candidate.limits(device, flags, none)?.is_none() {
        return Ok(None);
    }
    candidate.info.exportable = exportable;
    // Whether a display takes a modifier is for the display to say.
    candidate.info.usage.set(ImageUsage::SCANOUT, exportable);
    Ok(Some(candidate))
}

fn modifiers(
    device: &LogicalDevice,
    format: vk::Format,
) -> Vec<vk::DrmFormatModifierPropertiesEXT> {
    let ask = |list: &mut vk::DrmFormatModifierPropertiesListEXT<'_>| {
        let mut properties = vk::FormatProperties2::default().push_next(list);
        // SAFETY: the device has VK_EXT_image_drm_format_modifier and the chain, with an array as
        // long as its count says, lives through the call.
        unsafe {
            device.instance().get_physical_device_format_properties2(
                device.physical(),
                format,
                &mut properties,
            );
        }
    };
    let mut count = vk::DrmFormatModifierPropertiesListEXT::default();
    ask(&mut count);
    let count = usize::try_from(count.drm_format_modifier_count).unwrap_or(0);
    let mut found = vec![vk::DrmFormatModifierPropertiesEXT::default(); count];
    let mut list = vk::DrmFormatModifierPropertiesListEXT::default()
        .drm_format_modifier_properties(&mut found);
    ask(&mut list);
    let written = usize::try_from(list.drm_format_modifier_count).unwrap_or(0);
    found.truncate(written);
    found
}
