//! The structures behind the [`Header`](super::Header), and the bits in them.
//!
//! Every field lies at a multiple of its size, so that a C program can use structures of its own.

use bitflags::bitflags;
use zerocopy::little_endian::{U32, U64};

use super::limits::NAME_LEN;
use crate::blob_context::reply::{ImageLayout, Memory};
use crate::layout::wire;
use crate::memory::Access;

bitflags! {
    /// What a connection can do beyond reading blobs. A peer asks for some, a server grants some.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Capabilities: u64 {
        /// OPEN and BEGIN with WRITE.
        const WRITE = 1 << 0;
        /// WATCH.
        const WATCH = 1 << 1;
        /// DESCRIBE.
        const DESCRIBE = 1 << 2;
        /// EXPORT_FENCE.
        const EXPORT_FENCE = 1 << 3;
        /// IMPORT_FENCE. Needs WRITE.
        const IMPORT_FENCE = 1 << 4;
    }
}

bitflags! {
    /// What is true of a blob in a list.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct EntryFlags: u32 {
        /// OPEN works.
        const OPENABLE = 1 << 0;
        /// OPEN works with WRITE, on this connection.
        const WRITABLE = 1 << 1;
        /// It is an image.
        const IMAGE = 1 << 2;
        /// The guest has it in its window.
        const MAPPED = 1 << 3;
        /// An mmap of its file needs brackets.
        const NEEDS_BRACKETS = 1 << 4;
    }
}

bitflags! {
    /// What is true of an open blob's file.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct OpenFlags: u32 {
        /// mmap works.
        const MMAP = 1 << 0;
        /// Accesses through an mmap need brackets, for whatever reason.
        const NEEDS_BRACKETS = 1 << 1;
        /// It is an image, and what is said of one is valid.
        const IMAGE = 1 << 2;
        /// EXPORT_FENCE and IMPORT_FENCE work, with their capabilities.
        const FENCES = 1 << 3;
    }
}

bitflags! {
    /// What is true of a holder.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct HolderFlags: u32 {
        /// It is this connection.
        const SELF = 1 << 0;
        /// Its accesses need brackets.
        const NEEDS_BRACKETS = 1 << 1;
    }
}

bitflags! {
    /// What is true of a list.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct ListFlags: u32 {
        /// It goes on: ask again, after the last one.
        const MORE = 1 << 0;
    }
}

/// Whether those who map a blob do so with the type of its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Agreement {
    /// None is known to differ, but one is not known.
    Unknown = 0,
    /// All types are that of the memory.
    Agree = 1,
    /// A type is another.
    Differ = 2,
}

impl Agreement {
    /// Every agreement.
    pub const ALL: [Self; 3] = [Self::Unknown, Self::Agree, Self::Differ];

    /// The word in a reply.
    pub fn to_wire(self) -> u32 {
        self as u32
    }

    /// The agreement of a word; those of later versions are not known.
    pub fn from_wire(value: u32) -> Self {
        Self::ALL
            .into_iter()
            .find(|agreement| *agreement as u32 == value)
            .unwrap_or(Self::Unknown)
    }
}

wire! {
    /// HELLO. `version` is the highest that the peer has, `oldest` the lowest.
    Hello, 56 {
        magic: [u8; 4], version: U32, oldest: U32, reserved: U32, capabilities: U64,
        name: [u8; NAME_LEN],
    }
    /// Reply to HELLO. `access` has the bits of [`Access`]; limits are those of the connection.
    Welcome, 96 {
        magic: [u8; 4], version: U32, access: U32, page_size: U32, capabilities: U64,
        instance: U64, peer: U64, max_open: U32, max_brackets: U32, max_waiting: U32,
        default_timeout_ms: U32, max_timeout_ms: U32, reserved: U32, name: [u8; NAME_LEN],
    }
    /// LIST: blobs with ids over `after`, at most `limit` of them unless that is 0.
    List, 16 { after: U64, limit: U32, reserved: U32, }
    /// Reply to LIST, followed by `count` [`Entry`], in the order of their ids.
    ListHead, 16 { count: U32, flags: U32, reserved: U64, }
    /// A blob. `flags` has the bits of [`EntryFlags`].
    Entry, 32 {
        blob: U64, size: U64, resource_id: U32, generation: U32, context_id: U32, flags: U32,
    }
    /// WATCH: `enable` is 1 or 0.
    Watch, 8 { enable: U32, reserved: U32, }
    /// OPEN. `access` has the bits of [`Access`].
    Open, 16 { blob: U64, access: U32, reserved: U32, }
    /// Reply to OPEN, with a file. `access` is what may be done, `fd_access` what the file allows,
    /// `flags` has the bits of [`OpenFlags`].
    Opened, 248 {
        blob: U64, data_offset: U64, page_size: U64, memory: Memory, access: U32, fd_access: U32,
        flags: U32, resource_id: U32, generation: U32, context_id: U32,
        exporter: [u8; NAME_LEN], fourcc: U32, width: U32, height: U32, reserved: U32,
        layout: ImageLayout,
    }
    /// CLOSE
    Close, 8 { blob: U64, }
    /// BEGIN. `access` has the bits of [`Access`]; a `size` of 0 is the rest of the blob, a
    /// `timeout_ms` of 0 the server's default.
    Begin, 40 { blob: U64, bracket: U64, offset: U64, size: U64, access: U32, timeout_ms: U32, }
    /// END
    End, 8 { bracket: U64, }
    /// DESCRIBE: holders with ids over `after`, at most `limit` of them unless that is 0.
    Describe, 24 { blob: U64, after: U64, limit: U32, reserved: U32, }
    /// Reply to DESCRIBE, followed by `count` [`Holder`], in the order of their ids.
    Described, 64 {
        blob: U64, memory: Memory, agreement: U32, open: U32, count: U32, flags: U32,
    }
    /// Who maps a blob. `open` counts its brackets, `map_info` is 0 where the type is not known.
    Holder, 64 {
        holder: U64, kind: U32, map_info: U32, access: U32, flags: U32, open: U32, pid: U32,
        name: [u8; NAME_LEN],
    }
    /// EXPORT_FENCE, whose reply has a file. `access` has the bits of [`Access`].
    ExportFence, 16 { blob: U64, access: U32, reserved: U32, }
    /// IMPORT_FENCE, which has a file itself. `access` has the bits of [`Access`].
    ImportFence, 16 { blob: U64, access: U32, reserved: U32, }
    /// The event that a blob was destroyed.
    Destroyed, 8 { blob: U64, }
}

/// The access in a word that was checked.
fn access(word: U32) -> Access {
    Access::from_bits_truncate(word.get())
}

impl Open {
    /// What the peer wants to do.
    pub fn access(&self) -> Access {
        access(self.access)
    }
}

impl Begin {
    /// What the peer is going to do.
    pub fn access(&self) -> Access {
        access(self.access)
    }
}

impl ExportFence {
    /// What the peer is going to do when the fence signals.
    pub fn access(&self) -> Access {
        access(self.access)
    }
}

impl ImportFence {
    /// What the work does whose end the fence tells.
    pub fn access(&self) -> Access {
        access(self.access)
    }
}

impl Entry {
    /// What is true of the blob; bits of later versions are dropped.
    pub fn flags(&self) -> EntryFlags {
        EntryFlags::from_bits_truncate(self.flags.get())
    }
}

impl Opened {
    /// What is true of the file; bits of later versions are dropped.
    pub fn flags(&self) -> OpenFlags {
        OpenFlags::from_bits_truncate(self.flags.get())
    }
}

impl Holder {
    /// What is true of the holder; bits of later versions are dropped.
    pub fn flags(&self) -> HolderFlags {
        HolderFlags::from_bits_truncate(self.flags.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agreements_are_found_by_their_words() {
        for agreement in Agreement::ALL {
            assert_eq!(Agreement::from_wire(agreement.to_wire()), agreement);
        }
        assert_eq!(Agreement::from_wire(3), Agreement::Unknown);
    }

    #[test]
    fn eight_byte_fields_lie_at_multiples_of_eight() {
        use std::mem::offset_of;
        let offsets = [
            offset_of!(Hello, capabilities),
            offset_of!(Welcome, capabilities),
            offset_of!(Opened, memory),
            offset_of!(Opened, layout),
            offset_of!(Begin, blob),
            offset_of!(Described, memory),
        ];
        assert!(offsets.iter().all(|offset| offset % 8 == 0), "{offsets:?}");
    }
}
