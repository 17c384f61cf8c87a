//! Formats by their `drm_fourcc.h` name.

use ash::vk;

/// A format.
#[derive(Clone, Copy)]
pub struct Format {
    /// Its name for DRM.
    pub fourcc: u32,
    /// Its name for Vulkan.
    pub vulkan: vk::Format,
    /// Width and height are multiples of this: chroma is shared by as many pixels.
    pub granule: u32,
}

const fn format(name: &[u8; 4], vulkan: vk::Format, granule: u32) -> Format {
    Format {
        fourcc: u32::from_le_bytes(*name),
        vulkan,
        granule,
    }
}

/// The formats this crate knows. DRM names the components from the most significant bit of a
/// little-endian word, Vulkan those of unpacked formats in memory order. Formats with an unused
/// component (X) are those with alpha, for Vulkan.
pub const FORMATS: [Format; 20] = [
    format(b"AR24", vk::Format::B8G8R8A8_UNORM, 1),
    format(b"XR24", vk::Format::B8G8R8A8_UNORM, 1),
    format(b"AB24", vk::Format::R8G8B8A8_UNORM, 1),
    format(b"XB24", vk::Format::R8G8B8A8_UNORM, 1),
    format(b"RG24", vk::Format::B8G8R8_UNORM, 1),
    format(b"BG24", vk::Format::R8G8B8_UNORM, 1),
    format(b"RG16", vk::Format::R5G6B5_UNORM_PACK16, 1),
    format(b"AR30", vk::Format::A2R10G10B10_UNORM_PACK32, 1),
    format(b"XR30", vk::Format::A2R10G10B10_UNORM_PACK32, 1),
    format(b"AB30", vk::Format::A2B10G10R10_UNORM_PACK32, 1),
    format(b"XB30", vk::Format::A2B10G10R10_UNORM_PACK32, 1),
    format(b"AB4H", vk::Format::R16G16B16A16_SFLOAT, 1),
    format(b"XB4H", vk::Format::R16G16B16A16_SFLOAT, 1),
    format(b"R8  ", vk::Format::R8_UNORM, 1),
    format(b"R16 ", vk::Format::R16_UNORM, 1),
    format(b"GR88", vk::Format::R8G8_UNORM, 1),
    format(b"GR32", vk::Format::R16G16_UNORM, 1),
    format(b"NV12", vk::Format::G8_B8R8_2PLANE_420_UNORM, 2),
    format(
        b"P010",
        vk::Format::G10X6_B10X6R10X6_2PLANE_420_UNORM_3PACK16,
        2,
    ),
    format(b"YU12", vk::Format::G8_B8_R8_3PLANE_420_UNORM, 2),
];

/// The format with this name.
pub fn by_fourcc(fourcc: u32) -> Option<Format> {
    FORMATS.into_iter().find(|format| format.fourcc == fourcc)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_drm_fourcc_h() {
        // DRM_FORMAT_XRGB8888, "XR24".
        let format = by_fourcc(0x3432_5258).unwrap();
        assert!(format.vulkan == vk::Format::B8G8R8A8_UNORM);
        assert!(by_fourcc(0).is_none());
    }

    #[test]
    fn names_are_unique() {
        for (index, format) in FORMATS.iter().enumerate() {
            assert!(!FORMATS[..index].iter().any(|f| f.fourcc == format.fourcc));
        }
    }
}
