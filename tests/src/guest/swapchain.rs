//! A swapchain: images that are acquired, drawn and presented.

use std::fmt;
use std::time::Duration;

use ash::{khr, vk};

use super::error::{During, GuestError};
use super::gpu::Gpu;
use super::surface::Surface;

/// Longer than any presentation engine keeps all the images.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(30);

/// What a swapchain should be, which its surface must allow apart from numbers out of range.
#[derive(Clone, Copy, Debug)]
pub struct SwapchainWish {
    /// Format and colour space, one of the surface's.
    pub format: vk::SurfaceFormatKHR,
    /// Size in pixels, where the surface leaves the choice.
    pub extent: vk::Extent2D,
    /// What the images are used for.
    pub usage: vk::ImageUsageFlags,
    /// Number of images.
    pub images: u32,
}

/// A swapchain whose images are shown in order.
pub struct Swapchain<'s> {
    gpu: &'s Gpu,
    functions: khr::swapchain::Device,
    handle: vk::SwapchainKHR,
    images: Vec<vk::Image>,
    extent: vk::Extent2D,
}

impl fmt::Debug for Swapchain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Swapchain")
            .field("handle", &self.handle)
            .field("images", &self.images)
            .finish_non_exhaustive()
    }
}

impl<'s> Swapchain<'s> {
    /// Creates a swapchain. The device must have VK_KHR_swapchain enabled and support the surface
    /// (VUID-VkSwapchainCreateInfoKHR-surface-01270).
    pub fn new(surface: &'s Surface<'_>, wish: &SwapchainWish) -> Result<Self, GuestError> {
        let gpu = surface.gpu();
        let capabilities = surface.capabilities()?;
        let extent = extent(&capabilities, wish.extent);
        let info = vk::SwapchainCreateInfoKHR::default()
            .surface(surface.handle())
            .min_image_count(image_count(&capabilities, wish.images))
            .image_format(wish.format.format)
            .image_color_space(wish.format.color_space)
            .image_extent(extent)
            .image_array_layers(1)
            .image_usage(wish.usage)
            .image_sharing_mode(vk::SharingMode::EXCLUSIVE)
            .pre_transform(capabilities.current_transform)
            .composite_alpha(composite_alpha(capabilities.supported_composite_alpha))
            // The one mode every surface has (VUID-VkSwapchainCreateInfoKHR-presentMode-01281).
            .present_mode(vk::PresentModeKHR::FIFO)
            .clipped(false);
        let functions = khr::swapchain::Device::new(gpu.instance(), gpu.device());
        // SAFETY: the structure lives until the call returns, and its values are the surface's or
        // the caller's (VUID-VkSwapchainCreateInfoKHR-presentMode-01427).
        let handle =
            unsafe { functions.create_swapchain(&info, None) }.during("vkCreateSwapchainKHR")?;
        // From here on dropping the half-made swapchain cleans up after a failure.
        let mut swapchain = Self {
            gpu,
            functions,
            handle,
            images: Vec::new(),
            extent,
        };
        // SAFETY: the swapchain is alive.
        swapchain.images = unsafe { swapchain.functions.get_swapchain_images(handle) }
            .during("vkGetSwapchainImagesKHR")?;
        Ok(swapchain)
    }

    /// Acquires an image, whose index is returned; the semaphore says when it may be used.
    ///
    /// The semaphore must be unsignalled and have no operation pending.
    pub fn acquire(&self, semaphore: vk::Semaphore) -> Result<u32, GuestError> {
        let timeout = u64::try_from(ACQUIRE_TIMEOUT.as_nanos()).unwrap_or(u64::MAX);
        // SAFETY: the caller vouches for the semaphore
        // (VUID-vkAcquireNextImageKHR-semaphore-01286, -01779).
        unsafe {
            self.functions
                .acquire_next_image(self.handle, timeout, semaphore, vk::Fence::null())
        }
        .map(|(index, _suboptimal)| index)
        .during("vkAcquireNextImageKHR")
    }

    /// Presents an acquired image, in layout `PRESENT_SRC_KHR`, once the semaphore is signalled.
    pub fn present(&self, index: u32, semaphore: vk::Semaphore) -> Result<(), GuestError> {
        let (waits, swapchains, indices) = ([semaphore], [self.handle], [index]);
        let info = vk::PresentInfoKHR::default()
            .wait_semaphores(&waits)
            .swapchains(&swapchains)
            .image_indices(&indices);
        // SAFETY: the caller acquired the image, and its submission that signals the semaphore
        // left it in this layout (VUID-VkPresentInfoKHR-pImageIndices-01430,
        // VUID-vkQueuePresentKHR-pWaitSemaphores-03268).
        unsafe { self.functions.queue_present(self.gpu.queue(), &info) }
            .map(|_suboptimal| ())
            .during("vkQueuePresentKHR")
    }

    /// The images, which may be more than asked for.
    #[must_use]
    pub fn images(&self) -> &[vk::Image] {
        &self.images
    }

    /// Width and height in pixels.
    pub fn extent(&self) -> vk::Extent2D {
        self.extent
    }
}

impl Drop for Swapchain<'_> {
    fn drop(&mut self) {
        // SAFETY: presentations were queued behind submissions, so an idle queue uses no image
        // any more (VUID-vkDestroySwapchainKHR-swapchain-01282); a lost device is never idle, but
        // its objects may be destroyed all the same.
        unsafe {
            let _ = self.gpu.device().queue_wait_idle(self.gpu.queue());
            self.functions.destroy_swapchain(self.handle, None);
        }
    }
}

/// VUID-VkSwapchainCreateInfoKHR-minImageCount-01272 and -01383; no maximum is zero.
fn image_count(capabilities: &vk::SurfaceCapabilitiesKHR, wanted: u32) -> u32 {
    let most = match capabilities.max_image_count {
        0 => u32::MAX,
        most => most,
    };
    wanted.max(capabilities.min_image_count).min(most)
}

/// VUID-VkSwapchainCreateInfoKHR-pNext-07781; a surface that leaves the choice has no extent.
fn extent(capabilities: &vk::SurfaceCapabilitiesKHR, wanted: vk::Extent2D) -> vk::Extent2D {
    let current = capabilities.current_extent;
    if (current.width, current.height) != (u32::MAX, u32::MAX) {
        return current;
    }
    let (least, most) = (capabilities.min_image_extent, capabilities.max_image_extent);
    vk::Extent2D {
        width: wanted.width.max(least.width).min(most.width),
        height: wanted.height.max(least.height).min(most.height),
    }
}

/// One bit of those supported (VUID-VkSwapchainCreateInfoKHR-compositeAlpha-01280).
fn composite_alpha(supported: vk::CompositeAlphaFlagsKHR) -> vk::CompositeAlphaFlagsKHR {
    if supported.contains(vk::CompositeAlphaFlagsKHR::OPAQUE) {
        return vk::CompositeAlphaFlagsKHR::OPAQUE;
    }
    let bits = supported.as_raw();
    vk::CompositeAlphaFlagsKHR::from_raw(bits & bits.wrapping_neg())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capabilities() -> vk::SurfaceCapabilitiesKHR {
        vk::SurfaceCapabilitiesKHR {
            min_image_count: 2,
            current_extent: vk::Extent2D {
                width: u32::MAX,
                height: u32::MAX,
            },
            min_image_extent: vk::Extent2D {
                width: 16,
                height: 16,
            },
            max_image_extent: vk::Extent2D {
                width: 64,
                height: 64,
            },
            ..vk::SurfaceCapabilitiesKHR::default()
        }
    }

    #[test]
    fn image_count_without_a_maximum_is_as_wanted() {
        assert_eq!(image_count(&capabilities(), 3), 3);
    }

    #[test]
    fn image_count_stays_in_the_range() {
        let mut capabilities = capabilities();
        capabilities.max_image_count = 2;
        assert_eq!(image_count(&capabilities, 1), 2);
        assert_eq!(image_count(&capabilities, 3), 2);
    }

    #[test]
    fn extent_of_a_free_surface_stays_in_the_range() {
        let wanted = vk::Extent2D {
            width: 1,
            height: 100,
        };
        let found = extent(&capabilities(), wanted);
        assert_eq!((found.width, found.height), (16, 64));
    }

    #[test]
    fn composite_alpha_without_opaque_is_one_bit() {
        let supported =
            vk::CompositeAlphaFlagsKHR::POST_MULTIPLIED | vk::CompositeAlphaFlagsKHR::INHERIT;
        assert_eq!(
            composite_alpha(supported),
            vk::CompositeAlphaFlagsKHR::POST_MULTIPLIED
        );
    }
}
