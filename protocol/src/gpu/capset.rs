//! Capability sets: their ids, and the head of the Venus one.

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
    /// Bit N is Vulkan extension number N; bit 0 says that the mask is valid. Mesa consults it
    /// for chained structures only, so that it hides no extension from applications.
    pub vk_extension_mask: [U32; 32],
}

impl VenusCapset {
    /// The capset at the start of `bytes`, or `None` if `bytes` is too short to be one.
    pub fn from_bytes(bytes: &[u8]) -> Option<&Self> {
        Self::ref_from_prefix(bytes)
            .ok()
            .map(|(capset, _rest)| capset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_lie_where_virglrenderer_puts_them() {
        let mut bytes = vec![0u8; 160];
        bytes[16] = 1;
        bytes[20 + 4 * 31] = 7;
        let capset = VenusCapset::from_bytes(&bytes).unwrap();
        assert_eq!(capset.supports_blob_id_0.get(), 1);
        assert_eq!(capset.vk_extension_mask[31].get(), 7);
    }

    #[test]
    fn short_buffers_are_no_capset() {
        assert!(VenusCapset::from_bytes(&[0; 147]).is_none());
    }
}
