//! What the layer makes of a physical device.

use core::ffi::{CStr, c_char};
use core::ptr;

use ash::vk;
use ash::vk::ExternalMemoryHandleTypeFlags as HandleTypes;

use crate::instance::Instance;
use crate::memory_types::MemoryTypes;

/// The handle types whose fds are the layer's memfds.
pub fn fd_types() -> HandleTypes {
    HandleTypes::OPAQUE_FD | HandleTypes::DMA_BUF_EXT
}

/// Extensions that the layer offers whether the driver has them or not, and their versions.
const OFFERED: [(&CStr, u32); 3] = [
    (ash::khr::external_memory_fd::NAME, 1),
    (ash::ext::external_memory_dma_buf::NAME, 1),
    (MODIFIERS, 2),
];

/// The one of them that the layer keeps from the driver.
const MODIFIERS: &CStr = ash::ext::image_drm_format_modifier::NAME;

/// What the driver must have: its memory is imported from the layer's pages.
const NEEDED: &CStr = ash::ext::external_memory_host::NAME;

/// A physical device whose memory the layer can make.
pub struct Adapter {
    /// Its memory types.
    pub types: MemoryTypes,
    /// The device extensions of the next entity.
    extensions: Vec<vk::ExtensionProperties>,
}

impl Adapter {
    /// None where the layer adds nothing: host memory cannot be imported by the page, or no type
    /// of memory will do.
    ///
    /// # Safety
    /// `device` is a physical device of `next`.
    pub unsafe fn new(next: &Instance, device: vk::PhysicalDevice) -> Option<Self> {
        // SAFETY: the caller vouches for the device.
        let extensions = unsafe { driver_extensions(next, device) }.ok()?;
        if !has(&extensions, NEEDED) {
            return None;
        }
        let mut host = vk::PhysicalDeviceExternalMemoryHostPropertiesEXT::default();
        let mut properties = vk::PhysicalDeviceProperties2::default().push_next(&mut host);
        let mut memory = vk::PhysicalDeviceMemoryProperties::default();
        // SAFETY: the caller vouches for the device, which has the extension of the structure;
        // a device with it has the commands of Vulkan 1.1 or their extension.
        unsafe {
            (next.functions_1_1.get_physical_device_properties2)(device, &raw mut properties);
            (next.functions.get_physical_device_memory_properties)(device, &raw mut memory);
        }
        let page = rustix::param::page_size() as u64;
        let alignment = host.min_imported_host_pointer_alignment;
        if alignment == 0 || !page.is_multiple_of(alignment) {
            return None;
        }
        Some(Self {
            types: MemoryTypes::new(&memory)?,
            extensions,
        })
    }

    /// The extensions that the application sees.
    pub fn extensions(&self) -> Vec<vk::ExtensionProperties> {
        let mut extensions = self.extensions.clone();
        for (name, version) in OFFERED {
            if let (false, Ok(offered)) = (
                has(&extensions, name),
                vk::ExtensionProperties::default().extension_name(name),
            ) {
                extensions.push(offered.spec_version(version));
            }
        }
        extensions
    }

    /// The extensions to enable in the driver where the application enables `names`.
    ///
    /// # Safety
    /// Each name is a string that ends in a nul.
    pub unsafe fn enable(&self, names: &[*const c_char]) -> Vec<*const c_char> {
        let mut enabled = Vec::with_capacity(names.len() + 1);
        let mut imports = false;
        for &pointer in names {
            // SAFETY: the caller vouches for the strings.
            let name = unsafe { CStr::from_ptr(pointer) };
            imports |= name == NEEDED;
            let offered = OFFERED.iter().any(|(offered, _)| *offered == name);
            if !offered || (name != MODIFIERS && has(&self.extensions, name)) {
                enabled.push(pointer);
            }
        }
        if !imports {
            enabled.push(NEEDED.as_ptr());
        }
        enabled
    }
}

/// Lists the next entity's device extensions.
///
/// # Safety
/// `device` is a physical device of `next`.
pub unsafe fn driver_extensions(
    next: &Instance,
    device: vk::PhysicalDevice,
) -> Result<Vec<vk::ExtensionProperties>, vk::Result> {
    let enumerate = next.functions.enumerate_device_extension_properties;
    loop {
        let mut count = 0;
        // SAFETY: a count query of a valid device.
        unsafe { enumerate(device, ptr::null(), &raw mut count, ptr::null_mut()) }.result()?;
        let mut list = vec![vk::ExtensionProperties::default(); count as usize];
        // SAFETY: the list has `count` elements.
        let result = unsafe { enumerate(device, ptr::null(), &raw mut count, list.as_mut_ptr()) };
        // The list may have grown between the two calls.
        if result != vk::Result::INCOMPLETE {
            result.result()?;
            list.truncate(count as usize);
            return Ok(list);
        }
    }
}

fn has(extensions: &[vk::ExtensionProperties], name: &CStr) -> bool {
    extensions
        .iter()
        .any(|extension| extension.extension_name_as_c_str() == Ok(name))
}
