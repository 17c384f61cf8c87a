//! The capset: what memory a guest can ask for.

use bitflags::bitflags;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, IntoBytes};

use super::VERSION;
use crate::layout::wire;

bitflags! {
    /// What the device can do beyond buffers.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct CapsetFlags: u32 {
        /// IMAGE works, with the formats of the table.
        const IMAGES = 1 << 0;
        /// Blobs are dma-bufs on the host, which other contexts can import.
        const DMA_BUF = 1 << 1;
        /// The device is a CPU.
        const SOFTWARE = 1 << 2;
    }
}

bitflags! {
    /// What a memory type means for the guest, beyond its properties.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct TypeFlags: u32 {
        /// A blob of this type can be mapped.
        const MAPPABLE = 1 << 0;
        /// Accesses through a mapping need SYNC.
        const NEEDS_SYNC = 1 << 1;
    }
}

wire! {
    /// The head of a capset.
    Head, 160 {
        version: U32, head_size: U32, flags: U32, atom_size: U32,
        type_offset: U32, type_count: U32, heap_offset: U32, heap_count: U32,
        format_offset: U32, format_count: U32, max_sync_timeout_ms: U32, max_image_dimension: U32,
        page_size: U64, max_allocation_size: U64,
        device_uuid: [u8; 16], driver_uuid: [u8; 16], device_name: [u8; 64],
    }
    /// A memory type.
    MemoryType, 16 { properties: U32, heap: U32, map_info: U32, flags: U32, }
    /// A memory heap. `flags` is 1 for memory of the device.
    Heap, 16 { size: U64, flags: U32, padding: U32, }
    /// A format and one of its modifiers. `usage` has the bits of IMAGE's.
    FormatModifier, 24 { fourcc: U32, planes: U32, modifier: U64, usage: U32, padding: U32, }
}

/// A whole capset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capset {
    /// Its head. Offsets and counts in it are those of the encoded capset.
    pub head: Head,
    /// Memory types; a type's index is its place.
    pub types: Vec<MemoryType>,
    /// Memory heaps.
    pub heaps: Vec<Heap>,
    /// Formats of images, each with one modifier.
    pub formats: Vec<FormatModifier>,
}

impl Capset {
    /// The capset as the guest gets it: the head with version, sizes and offsets filled in, then
    /// the three tables.
    pub fn encode(&self) -> Vec<u8> {
        let len32 = |len: usize| U32::new(u32::try_from(len).unwrap_or(u32::MAX));
        let types = size_of::<Head>();
        let heaps = types + size_of_val(self.types.as_slice());
        let formats = heaps + size_of_val(self.heaps.as_slice());
        let head = Head {
            version: VERSION.into(),
            head_size: len32(types),
            type_offset: len32(types),
            type_count: len32(self.types.len()),
            heap_offset: len32(heaps),
            heap_count: len32(self.heaps.len()),
            format_offset: len32(formats),
            format_count: len32(self.formats.len()),
            ..self.head
        };
        [
            head.as_bytes(),
            self.types.as_bytes(),
            self.heaps.as_bytes(),
            self.formats.as_bytes(),
        ]
        .concat()
    }

    /// The capset in `bytes`, or `None` if it is none: too short, of version 0, or with a table
    /// that is not inside. Later versions may have a longer head, and more behind the tables.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (head, _) = Head::read_from_prefix(bytes).ok()?;
        if head.version.get() == 0 {
            return None;
        }
        Some(Self {
            types: table(bytes, head.type_offset, head.type_count)?,
            heaps: table(bytes, head.heap_offset, head.heap_count)?,
            formats: table(bytes, head.format_offset, head.format_count)?,
            head,
        })
    }

    /// The device's name, up to its first nul.
    pub fn device_name(&self) -> String {
        let name = &self.head.device_name;
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        String::from_utf8_lossy(name).into_owned()
    }

    /// What the device can do; bits of later versions are dropped.
    pub fn flags(&self) -> CapsetFlags {
        CapsetFlags::from_bits_truncate(self.head.flags.get())
    }
}

fn table<T: FromBytes>(bytes: &[u8], offset: U32, count: U32) -> Option<Vec<T>> {
    let offset = usize::try_from(offset.get()).ok()?;
    let count = usize::try_from(count.get()).ok()?;
    let len = count.checked_mul(size_of::<T>())?;
    let table = bytes.get(offset..offset.checked_add(len)?)?;
    table
        .chunks_exact(size_of::<T>())
        .map(|entry| T::read_from_bytes(entry).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::FromZeros;

    fn capset() -> Capset {
        let mut head = Head::new_zeroed();
        head.device_name[..4].copy_from_slice(b"test");
        Capset {
            head,
            types: vec![
                MemoryType {
                    properties: 0xe.into(),
                    heap: 0.into(),
                    map_info: 1.into(),
                    flags: 1.into(),
                };
                3
            ],
            heaps: vec![Heap::new_zeroed(); 2],
            formats: vec![FormatModifier::new_zeroed(); 5],
        }
    }

    #[test]
    fn decoded_capset_is_the_encoded_one() {
        let bytes = capset().encode();
        let decoded = Capset::decode(&bytes).unwrap();
        assert_eq!(decoded.types, capset().types);
        assert_eq!(decoded.heaps.len(), 2);
        assert_eq!(decoded.formats.len(), 5);
        assert_eq!(decoded.device_name(), "test");
        assert_eq!(decoded.encode(), bytes);
    }

    #[test]
    fn longer_head_and_trailing_bytes_of_a_later_version_do_not_disturb() {
        let mut bytes = capset().encode();
        bytes.extend([0xaa; 32]);
        bytes[0] = 2;
        assert_eq!(Capset::decode(&bytes).unwrap().types.len(), 3);
    }

    #[test]
    fn every_shorter_capset_is_none() {
        let bytes = capset().encode();
        for len in 0..bytes.len() {
            assert_eq!(Capset::decode(&bytes[..len]), None, "{len}");
        }
    }

    #[test]
    fn tables_outside_are_none_without_overflow() {
        for (place, value) in [(16, u32::MAX), (20, u32::MAX), (28, u32::MAX), (0, 0)] {
            let mut bytes = capset().encode();
            bytes[place..place + 4].copy_from_slice(&value.to_le_bytes());
            assert_eq!(Capset::decode(&bytes), None, "{place}");
        }
    }
}
