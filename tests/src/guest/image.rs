//! Images with their memory and one view.

use ash::vk;

use super::error::{During, GuestError};
use super::gpu::Gpu;
use super::memory::{Memory, MemoryWish};

/// What an image is.
#[derive(Clone, Copy, Debug)]
pub struct ImageDescription {
    /// Width and height in pixels.
    pub extent: vk::Extent2D,
    /// The format.
    pub format: vk::Format,
    /// What it is used for.
    pub usage: vk::ImageUsageFlags,
    /// Colour or depth.
    pub aspect: vk::ImageAspectFlags,
}

/// A two-dimensional image of one level, layer and sample.
#[derive(Debug)]
pub struct Image<'g> {
    gpu: &'g Gpu,
    handle: vk::Image,
    view: vk::ImageView,
    description: ImageDescription,
    // Freed after the image: fields are dropped after `drop` has run.
    _memory: Option<Memory<'g>>,
}

impl<'g> Image<'g> {
    /// Creates an image in memory of the device.
    pub fn new(gpu: &'g Gpu, description: ImageDescription) -> Result<Self, GuestError> {
        let info = vk::ImageCreateInfo::default()
            .image_type(vk::ImageType::TYPE_2D)
            .format(description.format)
            .extent(description.extent.into())
            .mip_levels(1)
            .array_layers(1)
            .samples(vk::SampleCountFlags::TYPE_1)
            .tiling(vk::ImageTiling::OPTIMAL)
            .usage(description.usage);
        // SAFETY: the structure lives until the call returns.
        let handle = unsafe { gpu.device().create_image(&info, None) }.during("vkCreateImage")?;
        // From here on dropping the half-made image cleans up after a failure.
        let mut image = Self {
            gpu,
            handle,
            view: vk::ImageView::null(),
            description,
            _memory: None,
        };
        // SAFETY: the image is alive.
        let needs = unsafe { gpu.device().get_image_memory_requirements(handle) };
        let type_index = gpu.memory_type(needs.memory_type_bits, MemoryWish::DEVICE)?;
        let memory = Memory::allocate(gpu, needs.size, type_index)?;
        // SAFETY: the memory was allocated for this image, which has none yet.
        unsafe { gpu.device().bind_image_memory(handle, memory.handle(), 0) }
            .during("vkBindImageMemory")?;
        image._memory = Some(memory);
        let info = vk::ImageViewCreateInfo::default()
            .image(handle)
            .view_type(vk::ImageViewType::TYPE_2D)
            .format(description.format)
            .subresource_range(vk::ImageSubresourceRange {
                aspect_mask: description.aspect,
                base_mip_level: 0,
                level_count: 1,
                base_array_layer: 0,
                layer_count: 1,
            });
        // SAFETY: the image has memory, and the structure lives until the call returns.
        image.view =
            unsafe { gpu.device().create_image_view(&info, None) }.during("vkCreateImageView")?;
        Ok(image)
    }

    /// The image.
    #[must_use]
    pub fn handle(&self) -> vk::Image {
        self.handle
    }

    /// Its view.
    #[must_use]
    pub fn view(&self) -> vk::ImageView {
        self.view
    }

    /// What it is.
    #[must_use]
    pub fn description(&self) -> &ImageDescription {
        &self.description
    }
}

impl Drop for Image<'_> {
    fn drop(&mut self) {
        // SAFETY: every submission is waited for, so no command uses the image any more; a null
        // view is ignored.
        unsafe {
            self.gpu.device().destroy_image_view(self.view, None);
            self.gpu.device().destroy_image(self.handle, None);
        }
    }
}

impl Gpu {
    /// The first format of a list that optimal tiling supports with all these features.
    pub fn supported_format(
        &self,
        formats: &[vk::Format],
        features: vk::FormatFeatureFlags,
    ) -> Result<vk::Format, GuestError> {
        formats
            .iter()
            .copied()
            .find(|format| {
                // SAFETY: the physical device belongs to the instance.
                let properties = unsafe {
                    self.instance()
                        .get_physical_device_format_properties(self.physical(), *format)
                };
                properties.optimal_tiling_features.contains(features)
            })
            .ok_or_else(|| GuestError::NoFormat {
                formats: formats.to_vec(),
                features,
            })
    }
}
