//! Replies, as the device writes them to the reply buffer.

use bitflags::bitflags;
use thiserror::Error;
use zerocopy::little_endian::{U32, U64};

use super::limits::{MAX_HOLDERS, MAX_PLANES};
use crate::layout::wire;

/// How a command ended. Zero is never written, so that a guest can tell a reply that is not there
/// yet in memory that it has cleared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[repr(u32)]
pub enum Status {
    /// It was carried out.
    #[error("carried out")]
    Ok = 1,
    /// A field has a value that the format or the resource's size forbids.
    #[error("invalid value")]
    Invalid = 2,
    /// No command has this code.
    #[error("unknown command")]
    UnknownCommand = 3,
    /// The resource does not exist, is not attached to the context, or is not of the right kind.
    #[error("no such resource in this context")]
    UnknownResource = 4,
    /// No object has this blob id.
    #[error("no object with this blob id")]
    UnknownObject = 5,
    /// The blob id is zero or taken.
    #[error("blob id is zero or in use")]
    ObjectInUse = 6,
    /// No memory type has the required properties, or none that such an object can be in.
    #[error("no memory type with the required properties")]
    NoMemoryType = 7,
    /// The host is out of memory.
    #[error("host is out of memory")]
    OutOfHostMemory = 8,
    /// The heap is full, or its budget used up.
    #[error("device is out of memory")]
    OutOfDeviceMemory = 9,
    /// A quota of the VM or of the context is used up.
    #[error("over a quota")]
    OverQuota = 10,
    /// The device has no such format, or no images at all.
    #[error("unsupported format")]
    UnsupportedFormat = 11,
    /// The format has none of the modifiers, or not for this size or use.
    #[error("unsupported modifier")]
    UnsupportedModifier = 12,
    /// The device cannot do this.
    #[error("not supported")]
    Unsupported = 13,
    /// The GPU did not finish in time. Nothing was begun.
    #[error("timed out")]
    TimedOut = 14,
    /// The device was lost. Memory stays mapped; nothing else works.
    #[error("device was lost")]
    DeviceLost = 15,
    /// There is no START with this access and range that an END could end.
    #[error("END without START")]
    NotOpen = 16,
    /// The policy about memory types that do not agree forbids it.
    #[error("refused by the policy about memory types")]
    Refused = 17,
    /// It failed and the guest cannot know more.
    #[error("failed")]
    Failed = 18,
}

impl Status {
    /// Every status.
    pub const ALL: [Self; 18] = [
        Self::Ok,
        Self::Invalid,
        Self::UnknownCommand,
        Self::UnknownResource,
        Self::UnknownObject,
        Self::ObjectInUse,
        Self::NoMemoryType,
        Self::OutOfHostMemory,
        Self::OutOfDeviceMemory,
        Self::OverQuota,
        Self::UnsupportedFormat,
        Self::UnsupportedModifier,
        Self::Unsupported,
        Self::TimedOut,
        Self::DeviceLost,
        Self::NotOpen,
        Self::Refused,
        Self::Failed,
    ];

    /// The word in a reply.
    pub fn to_wire(self) -> u32 {
        self as u32
    }

    /// The status of a word, or `None` for zero and for those of later versions.
    pub fn from_wire(value: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|status| *status as u32 == value)
    }
}

/// Who maps a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum HolderKind {
    /// The guest, through the window.
    Guest = 1,
    /// The VMM, where it maps the blob's file.
    Vmm = 2,
    /// The daemon.
    Daemon = 3,
    /// A process of the host that uses the sync protocol.
    Peer = 4,
}

/// What a blob is on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum BackingKind {
    /// Not mappable, or nothing is known of it.
    None = 0,
    /// A dma-buf.
    DmaBuf = 1,
    /// Shared memory.
    Memfd = 2,
    /// Shared memory behind a private header.
    MemfdWithHeader = 3,
}

bitflags! {
    /// What is true of a blob's memory.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct MemoryFlags: u32 {
        /// It can be mapped.
        const MAPPABLE = 1 << 0;
        /// Accesses through the guest's mapping need SYNC.
        const NEEDS_SYNC = 1 << 1;
        /// What maps it maps it with the same type, as far as is known.
        const AGREED = 1 << 2;
        /// It is known what an mmap of its file gives.
        const FD_KNOWN = 1 << 3;
        /// It is known what type the guest's mapping really has under the host's hypervisor.
        const EFFECTIVE_KNOWN = 1 << 4;
    }
}

wire! {
    /// The head of every reply. `size` counts the head and what follows.
    Head, 16 { sequence: U32, status: U32, size: U32, padding: U32, }
    /// What memory an object got. `map_info`, `fd_map_info` and `effective_map_info` are 0 where
    /// there is no mapping or nothing is known.
    Memory, 40 {
        size: U64, type_index: U32, properties: U32, flags: U32, map_info: U32, fd_map_info: U32,
        effective_map_info: U32, backing: U32, padding: U32,
    }
    /// A plane of an image.
    Plane, 24 { offset: U64, pitch: U64, size: U64, }
    /// Reply to IMAGE, behind [`Memory`].
    ImageLayout, 112 { modifier: U64, plane_count: U32, padding: U32, planes: [Plane; MAX_PLANES], }
    /// Who maps a blob how often, and with which type.
    Holder, 16 { kind: U32, map_info: U32, count: U32, open: U32, }
    /// Reply to QUERY, behind [`Memory`].
    Ledger, 272 { holder_count: U32, open: U32, padding: U64, holders: [Holder; MAX_HOLDERS], }
    /// Reply to ALLOCATE.
    Allocated, 56 { head: Head, memory: Memory, }
    /// Reply to IMAGE.
    ImageCreated, 168 { head: Head, memory: Memory, layout: ImageLayout, }
    /// Reply to QUERY.
    Described, 328 { head: Head, memory: Memory, ledger: Ledger, }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_is_found_by_its_word_and_none_is_zero() {
        for status in Status::ALL {
            assert_eq!(Status::from_wire(status.to_wire()), Some(status));
        }
        assert_eq!(Status::from_wire(0), None);
        assert_eq!(Status::from_wire(19), None);
    }
}
