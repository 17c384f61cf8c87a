//! Pixel formats, `enum virtio_gpu_formats` of VIRTIO 1.4 section 5.7.6.8.

/// A 32-bit pixel format. The name lists the bytes in memory order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Format {
    /// VIRTIO_GPU_FORMAT_B8G8R8A8_UNORM
    B8G8R8A8 = 1,
    /// VIRTIO_GPU_FORMAT_B8G8R8X8_UNORM
    B8G8R8X8 = 2,
    /// VIRTIO_GPU_FORMAT_A8R8G8B8_UNORM
    A8R8G8B8 = 3,
    /// VIRTIO_GPU_FORMAT_X8R8G8B8_UNORM
    X8R8G8B8 = 4,
    /// VIRTIO_GPU_FORMAT_R8G8B8A8_UNORM
    R8G8B8A8 = 67,
    /// VIRTIO_GPU_FORMAT_X8B8G8R8_UNORM
    X8B8G8R8 = 68,
    /// VIRTIO_GPU_FORMAT_A8B8G8R8_UNORM
    A8B8G8R8 = 121,
    /// VIRTIO_GPU_FORMAT_R8G8B8X8_UNORM
    R8G8B8X8 = 134,
}

impl Format {
    /// Bytes of one pixel, the same for every format of the specification.
    pub const BYTES_PER_PIXEL: u32 = 4;

    /// Every format of the specification.
    pub const ALL: [Self; 8] = [
        Self::B8G8R8A8,
        Self::B8G8R8X8,
        Self::A8R8G8B8,
        Self::X8R8G8B8,
        Self::R8G8B8A8,
        Self::X8B8G8R8,
        Self::A8B8G8R8,
        Self::R8G8B8X8,
    ];

    /// The format with this wire value, or `None` for a value the specification does not list.
    pub fn from_wire(value: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|format| *format as u32 == value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_is_found_by_its_wire_value() {
        for format in Format::ALL {
            assert_eq!(Format::from_wire(format as u32), Some(format));
        }
    }

    #[test]
    fn values_outside_the_specification_are_refused() {
        for value in [0, 5, 66, 69, 120, 122, 133, 135, u32::MAX] {
            assert_eq!(Format::from_wire(value), None);
        }
    }
}
