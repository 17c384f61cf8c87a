//! A surface without a window.

use ash::{ext, khr, vk};

use std::ffi::CStr;
use std::fmt;

use super::error::{During, GuestError};
use super::gpu::Gpu;

/// Instance extensions without which there is no such surface.
pub const HEADLESS_SURFACE: &[&CStr] = &[khr::surface::NAME, ext::headless_surface::NAME];

/// A `VK_EXT_headless_surface`: presenting to it shows nothing.
pub struct Surface<'g> {
    gpu: &'g Gpu,
    functions: khr::surface::Instance,
    handle: vk::SurfaceKHR,
}

impl fmt::Debug for Surface<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Surface").field(&self.handle).finish()
    }
}

impl<'g> Surface<'g> {
    /// Creates a surface. The instance must have [`HEADLESS_SURFACE`] enabled.
    pub fn headless(gpu: &'g Gpu) -> Result<Self, GuestError> {
        let functions = ext::headless_surface::Instance::new(gpu.entry(), gpu.instance());
        let info = vk::HeadlessSurfaceCreateInfoEXT::default();
        // SAFETY: the extension is enabled, and the structure lives until the call returns.
        let handle = unsafe { functions.create_headless_surface(&info, None) }
            .during("vkCreateHeadlessSurfaceEXT")?;
        Ok(Self {
            gpu,
            functions: khr::surface::Instance::new(gpu.entry(), gpu.instance()),
            handle,
        })
    }

    /// Whether the device's queue can present to it.
    pub fn is_supported(&self) -> Result<bool, GuestError> {
        // SAFETY: surface, device and queue family belong to one instance.
        unsafe {
            self.functions.get_physical_device_surface_support(
                self.gpu.physical(),
                self.gpu.queue_family(),
                self.handle,
            )
        }
        .during("vkGetPhysicalDeviceSurfaceSupportKHR")
    }

    /// What a swapchain may be, where the surface is supported.
    pub fn capabilities(&self) -> Result<vk::SurfaceCapabilitiesKHR, GuestError> {
        // SAFETY: surface and device belong to one instance, and callers asked `is_supported`
        // (VUID-vkGetPhysicalDeviceSurfaceCapabilitiesKHR-surface-06211).
        unsafe {
            self.functions
                .get_physical_device_surface_capabilities(self.gpu.physical(), self.handle)
        }
        .during("vkGetPhysicalDeviceSurfaceCapabilitiesKHR")
    }

    /// What its images may be, where the surface is supported.
    pub fn formats(&self) -> Result<Vec<vk::SurfaceFormatKHR>, GuestError> {
        // SAFETY: surface and device belong to one instance, and callers asked `is_supported`
        // (VUID-vkGetPhysicalDeviceSurfaceFormatsKHR-surface-06525).
        unsafe {
            self.functions
                .get_physical_device_surface_formats(self.gpu.physical(), self.handle)
        }
        .during("vkGetPhysicalDeviceSurfaceFormatsKHR")
    }

    /// The device it is for.
    #[must_use]
    pub fn gpu(&self) -> &'g Gpu {
        self.gpu
    }

    /// The handle.
    #[must_use]
    pub fn handle(&self) -> vk::SurfaceKHR {
        self.handle
    }
}

impl Drop for Surface<'_> {
    fn drop(&mut self) {
        // SAFETY: swapchains of the surface borrow it and so are gone
        // (VUID-vkDestroySurfaceKHR-surface-01266).
        unsafe { self.functions.destroy_surface(self.handle, None) };
    }
}
