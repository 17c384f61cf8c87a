//! The configuration space, VIRTIO 1.4 section 5.7.4.

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Offset of `events_clear`, the only field a driver writes.
const EVENTS_CLEAR_OFFSET: usize = 4;

/// Event: the display configuration changed.
pub const EVENT_DISPLAY: u32 = 1 << 0;

/// `struct virtio_gpu_config`, 20 bytes since VIRTIO 1.4.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    FromBytes,
    IntoBytes,
    KnownLayout,
    Immutable,
    Unaligned,
)]
#[repr(C)]
pub struct Config {
    /// Pending events.
    pub events_read: U32,
    /// Events to clear; write only.
    pub events_clear: U32,
    /// Scanouts, 1 to 16.
    pub num_scanouts: U32,
    /// Capability sets, possibly none.
    pub num_capsets: U32,
    /// Alignment in bytes of blob sizes and window offsets; a power of two.
    pub blob_alignment: U32,
}

impl Config {
    /// `size` bytes from `offset`, zero beyond the structure.
    ///
    /// A front-end that reads past the end gets zeros rather than a short answer, because Cloud
    /// Hypervisor aborts on one.
    pub fn read(&self, offset: u32, size: u32) -> Vec<u8> {
        let bytes = self.as_bytes();
        let start = usize::try_from(offset)
            .unwrap_or(usize::MAX)
            .min(bytes.len());
        let size = usize::try_from(size).unwrap_or(0);
        let mut out: Vec<u8> = bytes.iter().skip(start).take(size).copied().collect();
        out.resize(size, 0);
        out
    }
}

/// The bits that a write of `bytes` at `offset` sets in `events_clear`. It may cover the field in
/// part, or others too, as QEMU's writes of the whole structure do.
pub fn events_clear(offset: u32, bytes: &[u8]) -> u32 {
    let start = usize::try_from(offset).unwrap_or(usize::MAX);
    let mut field = [0; 4];
    for (place, byte) in field.iter_mut().enumerate() {
        let written = (EVENTS_CLEAR_OFFSET + place)
            .checked_sub(start)
            .and_then(|index| bytes.get(index));
        *byte = written.copied().unwrap_or(0);
    }
    u32::from_le_bytes(field)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: Config = Config {
        events_read: U32::new(1),
        events_clear: U32::new(0),
        num_scanouts: U32::new(1),
        num_capsets: U32::new(2),
        blob_alignment: U32::new(4096),
    };

    #[test]
    fn reads_inside_return_the_field() {
        assert_eq!(CONFIG.read(12, 4), 2u32.to_le_bytes());
        assert_eq!(CONFIG.read(0, 20), CONFIG.as_bytes());
    }

    #[test]
    fn reads_past_the_end_are_zero_filled_to_the_exact_size() {
        assert_eq!(CONFIG.read(16, 8), [0, 16, 0, 0, 0, 0, 0, 0]);
        assert_eq!(CONFIG.read(200, 3), [0, 0, 0]);
        assert_eq!(CONFIG.read(u32::MAX, 2), [0, 0]);
    }

    #[test]
    fn writes_of_the_field_clear_wherever_they_begin_and_end() {
        let field = 0x0403_0201u32.to_le_bytes();
        let whole = [&[0xff; 4], field.as_slice(), &[0xff; 12]].concat();
        for (offset, bytes, bits) in [
            (4, field.as_slice(), 0x0403_0201),
            (0, &whole, 0x0403_0201),
            (4, &[1], 1),
            (5, &field[1..], 0x0403_0200),
            (6, &[3, 4, 5, 6, 7, 8], 0x0403_0000),
            (3, &[0xff, 1], 1),
        ] {
            assert_eq!(events_clear(offset, bytes), bits, "{offset}");
        }
    }

    #[test]
    fn writes_beside_the_field_clear_nothing() {
        for (offset, len) in [(0, 4), (8, 12), (4, 0), (20, 4), (u32::MAX, 8)] {
            assert_eq!(events_clear(offset, &vec![0xff; len]), 0, "{offset}");
        }
    }
}
