//! Capability sets: their ids, and the part of the Venus one that a device may narrow.

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// VIRTIO_GPU_CAPSET_VENUS, VIRTIO 1.4 section 5.7.6.8.
pub const CAPSET_VENUS: u32 = 4;

/// The bits of `context_init` that hold the capset id.
pub const CONTEXT_INIT_CAPSET_ID_MASK: u32 = 0xff;

/// The head of `struct virgl_renderer_capset_venus`; later fields may follow.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct VenusCapset {
    /// Version of the wire format.
    pub wire_format_version: U32,
    /// Version of the Vulkan registry the protocol was made from.
    pub vk_xml_version: U32,
    /// VK_EXT_command_serialization revision.
    pub vk_ext_command_serialization_spec_version: U32,
    /// VK_MESA_venus_protocol revision.
    pub vk_mesa_venus_protocol_spec_version: U32,
    /// Whether a blob with id 0 is shared memory.
    pub supports_blob_id_0: U32,
    /// Bit N is Vulkan extension number N; bit 0 says that the mask is valid.
    pub vk_extension_mask: [U32; 32],
}

impl VenusCapset {
    /// The capset at the start of `bytes`, or `None` if `bytes` is too short to be one.
    pub fn from_bytes_mut(bytes: &mut [u8]) -> Option<&mut Self> {
        Self::mut_from_prefix(bytes)
            .ok()
            .map(|(capset, _rest)| capset)
    }

    /// Whether the mask is in use.
    pub fn has_extension_mask(&self) -> bool {
        self.vk_extension_mask[0].get() & 1 != 0
    }

    /// Whether a guest driver that honours the mask may use extension `number`.
    pub fn has_extension(&self, number: u32) -> bool {
        let (word, bit) = Self::position(number);
        !self.has_extension_mask()
            || self
                .vk_extension_mask
                .get(word)
                .is_some_and(|mask| mask.get() & bit != 0)
    }

    /// Hides the Vulkan extension `number` from the guest's driver.
    ///
    /// A mask that was not in use is made valid with every other extension allowed.
    pub fn hide_extension(&mut self, number: u32) {
        if !self.has_extension_mask() {
            self.vk_extension_mask = [U32::new(u32::MAX); 32];
        }
        let (word, bit) = Self::position(number);
        if let Some(mask) = self.vk_extension_mask.get_mut(word) {
            mask.set(mask.get() & !bit);
        }
    }

    fn position(number: u32) -> (usize, u32) {
        (
            usize::try_from(number / 32).unwrap_or(usize::MAX),
            1 << (number % 32),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXTERNAL_MEMORY_DMA_BUF: u32 = 126;

    #[test]
    fn hiding_leaves_the_other_extensions() {
        let mut bytes = vec![0u8; 160];
        bytes[20] = 1;
        bytes[20 + 4 * 3 + 3] = 0x40 | 0x20;

        let capset = VenusCapset::from_bytes_mut(&mut bytes).unwrap();
        assert!(capset.has_extension(EXTERNAL_MEMORY_DMA_BUF));
        capset.hide_extension(EXTERNAL_MEMORY_DMA_BUF);

        assert!(!capset.has_extension(EXTERNAL_MEMORY_DMA_BUF));
        assert!(capset.has_extension(125));
        assert!(!capset.has_extension(124));
    }

    #[test]
    fn hiding_makes_an_unused_mask_valid_with_all_others_allowed() {
        let mut bytes = vec![0u8; 148];
        let capset = VenusCapset::from_bytes_mut(&mut bytes).unwrap();

        capset.hide_extension(EXTERNAL_MEMORY_DMA_BUF);

        assert!(capset.has_extension_mask());
        assert!(!capset.has_extension(EXTERNAL_MEMORY_DMA_BUF));
        assert!(capset.has_extension(1));
        assert!(capset.has_extension(1000));
    }

    #[test]
    fn short_buffers_are_no_capset() {
        assert!(VenusCapset::from_bytes_mut(&mut [0; 147]).is_none());
    }
}
