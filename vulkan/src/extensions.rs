//! The device extensions this crate uses. Each is optional: without one, what needs it is an
//! error, and nothing else changes.

use std::ffi::CStr;

use ash::{ext, khr, vk};
use bitflags::bitflags;

bitflags! {
    /// A set of extensions.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Extensions: u32 {
        /// VK_KHR_external_memory_fd
        const MEMORY_FD = 1 << 0;
        /// VK_EXT_external_memory_dma_buf
        const DMA_BUF = 1 << 1;
        /// VK_EXT_external_memory_host
        const HOST_MEMORY = 1 << 2;
        /// VK_EXT_memory_budget
        const BUDGET = 1 << 3;
        /// VK_EXT_queue_family_foreign
        const FOREIGN = 1 << 4;
        /// VK_KHR_timeline_semaphore
        const TIMELINE = 1 << 5;
        /// VK_KHR_external_semaphore_fd
        const SEMAPHORE_FD = 1 << 6;
        /// VK_KHR_image_format_list
        const FORMAT_LIST = 1 << 7;
        /// VK_EXT_image_drm_format_modifier
        const MODIFIERS = 1 << 8;
        /// VK_KHR_maintenance4
        const MAINTENANCE_4 = 1 << 9;
        /// VK_EXT_physical_device_drm
        const DRM = 1 << 10;
    }
}

/// An extension, its name, and those it depends on with Vulkan 1.1
/// (VUID-vkCreateDevice-ppEnabledExtensionNames-01387).
const TABLE: [(Extensions, &CStr, Extensions); 11] = [
    (
        Extensions::MEMORY_FD,
        khr::external_memory_fd::NAME,
        Extensions::empty(),
    ),
    (
        Extensions::DMA_BUF,
        ext::external_memory_dma_buf::NAME,
        Extensions::MEMORY_FD,
    ),
    (
        Extensions::HOST_MEMORY,
        ext::external_memory_host::NAME,
        Extensions::empty(),
    ),
    (
        Extensions::BUDGET,
        ext::memory_budget::NAME,
        Extensions::empty(),
    ),
    (
        Extensions::FOREIGN,
        ext::queue_family_foreign::NAME,
        Extensions::empty(),
    ),
    (
        Extensions::TIMELINE,
        khr::timeline_semaphore::NAME,
        Extensions::empty(),
    ),
    (
        Extensions::SEMAPHORE_FD,
        khr::external_semaphore_fd::NAME,
        Extensions::empty(),
    ),
    (
        Extensions::FORMAT_LIST,
        khr::image_format_list::NAME,
        Extensions::empty(),
    ),
    (
        Extensions::MODIFIERS,
        ext::image_drm_format_modifier::NAME,
        Extensions::FORMAT_LIST.union(Extensions::DMA_BUF),
    ),
    (
        Extensions::MAINTENANCE_4,
        khr::maintenance4::NAME,
        Extensions::empty(),
    ),
    (
        Extensions::DRM,
        ext::physical_device_drm::NAME,
        Extensions::empty(),
    ),
];

impl Extensions {
    /// The extensions among `available` that are not in `without`, and have what they depend on.
    pub fn choose(available: &[vk::ExtensionProperties], without: &[String]) -> Self {
        let has = |name: &CStr| {
            available
                .iter()
                .any(|extension| extension.extension_name_as_c_str() == Ok(name))
                && !without.iter().any(|w| w.as_bytes() == name.to_bytes())
        };
        let mut chosen = Self::empty();
        // Those an extension depends on are before it in the table.
        for (extension, name, needs) in TABLE {
            chosen.set(extension, chosen.contains(needs) && has(name));
        }
        chosen
    }

    /// Names for `VkDeviceCreateInfo`.
    pub fn names(self) -> Vec<*const std::ffi::c_char> {
        TABLE
            .iter()
            .filter(|(extension, ..)| self.contains(*extension))
            .map(|(_, name, _)| name.as_ptr())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn available(names: &[&CStr]) -> Vec<vk::ExtensionProperties> {
        names
            .iter()
            .map(|name| {
                vk::ExtensionProperties::default()
                    .extension_name(name)
                    .unwrap()
            })
            .collect()
    }

    #[test]
    fn every_extension_is_in_the_table_once() {
        let mut seen = Extensions::empty();
        for (extension, _, needs) in TABLE {
            assert!(!seen.intersects(extension), "{extension:?}");
            assert!(seen.contains(needs), "{extension:?}");
            seen |= extension;
        }
        assert_eq!(seen, Extensions::all());
    }

    #[test]
    fn an_extension_without_what_it_depends_on_is_left_alone() {
        let some = available(&[
            ext::external_memory_dma_buf::NAME,
            ext::image_drm_format_modifier::NAME,
            khr::image_format_list::NAME,
        ]);
        assert_eq!(Extensions::choose(&some, &[]), Extensions::FORMAT_LIST);
    }

    #[test]
    fn extensions_can_be_left_alone() {
        let some = available(&[
            khr::external_memory_fd::NAME,
            ext::external_memory_dma_buf::NAME,
        ]);
        let without = ["VK_EXT_external_memory_dma_buf".to_string()];
        assert_eq!(Extensions::choose(&some, &without), Extensions::MEMORY_FD);
    }
}
