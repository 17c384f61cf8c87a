//! An image's information as the driver gets it.

use ash::vk;
use ash::vk::ExternalMemoryHandleTypeFlags as HandleTypes;

use crate::chain::{self, Chain, Kept, kept};
use crate::device::Device;
use crate::external::imports_host_images;
use crate::modifier::{self, PlaneLayout};
use crate::resource::Resource;

/// Which structures of an image's chain reach the driver where the layer changes the chain.
const KEPT: [Kept; 3] = [
    kept::<vk::ImageFormatListCreateInfo<'_>>(),
    kept::<vk::ImageStencilUsageCreateInfo<'_>>(),
    kept::<vk::ImageCompressionControlEXT<'_>>(),
];

/// What the layer keeps of an image.
#[derive(Clone, Copy, Debug)]
pub struct Image {
    /// What it can be bound to.
    pub resource: Resource,
    /// Whether the application made it with a DRM format modifier, and the driver without.
    pub modifier: bool,
}

/// The changed information, and what follows from it.
pub struct ImageInfo<'a> {
    original: &'a vk::ImageCreateInfo<'a>,
    tiling: vk::ImageTiling,
    /// None where nothing changes.
    chain: Option<Chain>,
    /// What the image will be.
    pub image: Image,
    /// The layout that the application asks for.
    pub layout: Option<PlaneLayout>,
}

impl<'a> ImageInfo<'a> {
    /// Fails where the layer does not have the modifiers that are asked for.
    ///
    /// # Safety
    /// `info` is valid.
    pub unsafe fn new(
        next: &Device,
        info: &'a vk::ImageCreateInfo<'a>,
    ) -> Result<Self, vk::Result> {
        let mut changed = Self {
            original: info,
            tiling: info.tiling,
            chain: None,
            image: Image {
                resource: Resource::Foreign,
                modifier: false,
            },
            layout: None,
        };
        if next.extended.is_none() {
            return Ok(changed);
        }
        if info.tiling == vk::ImageTiling::DRM_FORMAT_MODIFIER_EXT {
            // SAFETY: the caller vouches for the information.
            changed.layout = unsafe { modifier::choose(info) }?;
            changed.image.modifier = true;
            changed.tiling = vk::ImageTiling::LINEAR;
        }
        // SAFETY: the caller vouches for the chain.
        let (external, swapchain, chain) = unsafe {
            (
                chain::find::<vk::ExternalMemoryImageCreateInfo<'_>>(info.p_next),
                chain::find::<vk::ImageSwapchainCreateInfoKHR<'_>>(info.p_next),
                Chain::copy(info.p_next, &KEPT),
            )
        };
        // VUID-VkImageCreateInfo-pNext-01443: external memory has no contents to begin with.
        let external_possible =
            swapchain.is_none() && info.initial_layout == vk::ImageLayout::UNDEFINED;
        let mut query = vk::PhysicalDeviceImageFormatInfo2::default()
            .format(info.format)
            .ty(info.image_type)
            .tiling(changed.tiling)
            .usage(info.usage)
            .flags(info.flags);
        query.p_next = chain.head();
        // SAFETY: the device's own instance and physical device; the parameters of an image.
        if external_possible && unsafe { imports_host_images(&next.instance, next.physical, query) }
        {
            let host = vk::ExternalMemoryImageCreateInfo::default()
                .handle_types(HandleTypes::HOST_ALLOCATION_EXT);
            let asked = external.map_or(HandleTypes::empty(), |external| external.handle_types);
            changed.image.resource = Resource::importable(asked);
            changed.chain = Some(chain.push(&host));
        } else if changed.image.modifier {
            changed.chain = Some(chain);
        }
        Ok(changed)
    }

    /// What the driver gets.
    pub fn get(&self) -> vk::ImageCreateInfo<'_> {
        let mut info = self.original.tiling(self.tiling);
        if let Some(chain) = &self.chain {
            info.p_next = chain.head();
        }
        info
    }
}
