//! How a stream is cut into sections.

use zerocopy::little_endian::{U32, U64};

use crate::layout::wire;

/// The first bytes of a stream.
pub const MAGIC: [u8; 8] = *b"COHDSNAP";

/// The version that this crate has. There is no other yet.
pub const VERSION: u32 = 1;

/// Bytes of the longest payload.
pub const MAX_SECTION: usize = 1 << 20;

wire! {
    /// The head of a stream. `crc` is the CRC-32 of the bytes before it.
    Header, 24 { magic: [u8; 8], version: U32, flags: U32, reserved: U32, crc: U32, }
    /// The head of a section. `sequence` counts sections from 0; `crc` is the CRC-32 of the bytes
    /// of this structure before it and of the payload.
    SectionHead, 24 { kind: U32, sequence: U32, length: U64, reserved: U32, crc: U32, }
}

/// What a section holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Kind {
    /// The device as a whole; the first section.
    Device = 1,
    /// A queue.
    Ring = 2,
    /// A scanout.
    Scanout = 3,
    /// A cursor.
    Cursor = 4,
    /// A context.
    Context = 5,
    /// A resource.
    Resource = 6,
    /// Which contexts may use which resources.
    Attachments = 7,
    /// An object of a blob context that no resource was made from.
    Object = 8,
    /// An access that a guest's program has begun.
    Bracket = 9,
    /// Everything but bytes has come; bytes follow.
    Described = 10,
    /// Bytes of memory or of an image.
    Contents = 11,
    /// The last section.
    End = 12,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 12] = [
        Self::Device,
        Self::Ring,
        Self::Scanout,
        Self::Cursor,
        Self::Context,
        Self::Resource,
        Self::Attachments,
        Self::Object,
        Self::Bracket,
        Self::Described,
        Self::Contents,
        Self::End,
    ];

    /// The word in a section's head.
    pub fn to_wire(self) -> u32 {
        self as u32
    }

    /// The kind of a word.
    pub fn from_wire(word: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.to_wire() == word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_found_by_its_word() {
        for kind in Kind::ALL {
            assert_eq!(Kind::from_wire(kind.to_wire()), Some(kind));
        }
        assert_eq!(Kind::from_wire(0), None);
        assert_eq!(Kind::from_wire(13), None);
    }
}
