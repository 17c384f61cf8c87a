//! An image as Vulkan has it.

use std::sync::Arc;

use ash::vk;

use crate::error::DeviceError;
use crate::logical::LogicalDevice;
use crate::memory::Requirements;

/// An image without or with memory.
#[derive(Debug)]
pub struct ImageHandle {
    device: Arc<LogicalDevice>,
    raw: vk::Image,
}

impl ImageHandle {
    /// Creates an image.
    ///
    /// # Errors
    /// That of vkCreateImage.
    ///
    /// # Safety
    /// `info` and its chain keep the rules of `VkImageCreateInfo`.
    pub unsafe fn new(
        device: &Arc<LogicalDevice>,
        info: &vk::ImageCreateInfo<'_>,
    ) -> Result<Self, DeviceError> {
        // SAFETY: the caller keeps the rules.
        let raw = device.outcome("vkCreateImage", unsafe {
            device.raw().create_image(info, None)
        })?;
        Ok(Self {
            device: device.clone(),
            raw,
        })
    }

    /// The handle.
    pub fn raw(&self) -> vk::Image {
        self.raw
    }

    /// What it wants of its memory.
    pub fn requirements(&self) -> Requirements {
        let info = vk::ImageMemoryRequirementsInfo2::default().image(self.raw);
        let mut dedicated = vk::MemoryDedicatedRequirements::default();
        let mut requirements = vk::MemoryRequirements2::default().push_next(&mut dedicated);
        // SAFETY: the image is alive, not disjoint
        // (VUID-VkImageMemoryRequirementsInfo2-image-01589), and the chains live through the call.
        unsafe {
            self.device
                .raw()
                .get_image_memory_requirements2(&info, &mut requirements);
        }
        let memory = requirements.memory_requirements;
        Requirements::new(memory, &dedicated)
    }

    /// Binds the image to the start of `memory`, once.
    ///
    /// # Errors
    /// That of vkBindImageMemory.
    ///
    /// # Safety
    /// The memory is of a type, a size and a handle type that the image can have, dedicated to it
    /// or to nobody (VUID-vkBindImageMemory-memory-01047, -size-01049, -memory-02728,
    /// -memory-02628), and freed after it.
    pub unsafe fn bind(&self, memory: vk::DeviceMemory) -> Result<(), DeviceError> {
        // SAFETY: the caller keeps the rules; offset 0 is aligned
        // (VUID-vkBindImageMemory-memoryOffset-01048).
        self.device.outcome("vkBindImageMemory", unsafe {
            self.device.raw().bind_image_memory(self.raw, memory, 0)
        })
    }

    /// The modifier the driver chose.
    ///
    /// # Errors
    /// That of vkGetImageDrmFormatModifierPropertiesEXT.
    pub fn modifier(&self) -> Result<Option<u64>, DeviceError> {
        let Some(functions) = &self.device.functions().modifiers else {
            return Ok(None);
        };
        let mut properties = vk::ImageDrmFormatModifierPropertiesEXT::default();
        // SAFETY: every image of this crate has DRM_FORMAT_MODIFIER tiling
        // (VUID-vkGetImageDrmFormatModifierPropertiesEXT-image-02272).
        let result = unsafe {
            functions.get_image_drm_format_modifier_properties(self.raw, &mut properties)
        };
        self.device
            .outcome("vkGetImageDrmFormatModifierPropertiesEXT", result)?;
        Ok(Some(properties.drm_format_modifier))
    }

    /// The layout of a memory plane.
    pub fn layout(&self, aspect: vk::ImageAspectFlags) -> vk::SubresourceLayout {
        let plane = vk::ImageSubresource::default().aspect_mask(aspect);
        // SAFETY: the image has DRM_FORMAT_MODIFIER tiling, one level and one layer, and callers
        // name one of its memory planes (VUID-vkGetImageSubresourceLayout-image-07790,
        // -tiling-09433, -mipLevel-01716, -arrayLayer-01717).
        unsafe {
            self.device
                .raw()
                .get_image_subresource_layout(self.raw, plane)
        }
    }
}

impl Drop for ImageHandle {
    fn drop(&mut self) {
        // SAFETY: no command uses images (VUID-vkDestroyImage-image-01000).
        unsafe { self.device.raw().destroy_image(self.raw, None) };
    }
}
