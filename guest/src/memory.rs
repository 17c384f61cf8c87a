//! Words about memory.

use std::fmt;

use coherd_protocol::blob_context::capset::{self, TypeFlags};
use coherd_protocol::blob_context::reply::{self, MemoryFlags};
pub use coherd_protocol::memory::{Access, MemoryProperties};

/// How a mapping is cached, with the values of `map_info` (VIRTIO 1.4 section 5.7.6.10).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Caching {
    /// As ordinary memory.
    Cached = 1,
    /// Each access goes to memory.
    Uncached = 2,
    /// Writes are collected, reads go to memory.
    WriteCombining = 3,
}

impl Caching {
    /// The caching of a `map_info`, if it is one.
    #[must_use]
    pub fn from_map_info(word: u32) -> Option<Self> {
        [Self::Cached, Self::Uncached, Self::WriteCombining]
            .into_iter()
            .find(|caching| *caching as u32 == word)
    }
}

impl fmt::Display for Caching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cached => "cached",
            Self::Uncached => "uncached",
            Self::WriteCombining => "write-combining",
        })
    }
}

/// A memory type of the host's device, as the host promises it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryType {
    /// Its place in the host's list.
    pub index: u32,
    /// The heap that it comes from.
    pub heap: u32,
    /// Its properties.
    pub properties: MemoryProperties,
    /// How a mapping of it is cached; `None` if it cannot be mapped.
    pub caching: Option<Caching>,
    /// Whether accesses through a mapping need brackets.
    pub needs_sync: bool,
}

impl MemoryType {
    pub(crate) fn new(index: u32, wire: &capset::MemoryType) -> Self {
        let flags = TypeFlags::from_bits_truncate(wire.flags.get());
        let caching = Caching::from_map_info(wire.map_info.get());
        Self {
            index,
            heap: wire.heap.get(),
            properties: MemoryProperties::from_bits_truncate(wire.properties.get()),
            caching: caching.filter(|_| flags.contains(TypeFlags::MAPPABLE)),
            needs_sync: flags.contains(TypeFlags::NEEDS_SYNC),
        }
    }
}

/// What a blob is on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Backing {
    /// Nothing is known of it.
    Unknown = 0,
    /// A dma-buf.
    DmaBuf = 1,
    /// Shared memory.
    SharedMemory = 2,
    /// Shared memory behind a private header.
    SharedMemoryWithHeader = 3,
}

impl Backing {
    fn from_wire(word: u32) -> Self {
        [
            Self::DmaBuf,
            Self::SharedMemory,
            Self::SharedMemoryWithHeader,
        ]
        .into_iter()
        .find(|backing| *backing as u32 == word)
        .unwrap_or(Self::Unknown)
    }
}

impl fmt::Display for Backing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "unknown",
            Self::DmaBuf => "dma-buf",
            Self::SharedMemory => "shared memory",
            Self::SharedMemoryWithHeader => "shared memory behind a header",
        })
    }
}

/// What memory a blob is, as the host tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Its size in bytes.
    pub size: u64,
    /// The place of its type in the host's list.
    pub type_index: u32,
    /// The properties of its type.
    pub properties: MemoryProperties,
    /// How the guest maps it; `None` if it cannot be mapped.
    pub caching: Option<Caching>,
    /// Whether accesses through a mapping need brackets.
    pub needs_sync: bool,
    /// Whether all mappings of it have one type, as far as the host knows.
    pub agreed: bool,
    /// How the VMM maps it, if the host knows.
    pub file_caching: Option<Caching>,
    /// How the guest's mapping is really cached under the host's hypervisor, if the host knows.
    pub effective_caching: Option<Caching>,
    /// What is behind it.
    pub backing: Backing,
}

impl Memory {
    pub(crate) fn new(wire: &reply::Memory) -> Self {
        let flags = MemoryFlags::from_bits_truncate(wire.flags.get());
        let word =
            |word: u32, known| Caching::from_map_info(word).filter(|_| flags.contains(known));
        Self {
            size: wire.size.get(),
            type_index: wire.type_index.get(),
            properties: MemoryProperties::from_bits_truncate(wire.properties.get()),
            caching: word(wire.map_info.get(), MemoryFlags::MAPPABLE),
            needs_sync: flags.contains(MemoryFlags::NEEDS_SYNC),
            agreed: flags.contains(MemoryFlags::AGREED),
            file_caching: word(wire.fd_map_info.get(), MemoryFlags::FD_KNOWN),
            effective_caching: word(wire.effective_map_info.get(), MemoryFlags::EFFECTIVE_KNOWN),
            backing: Backing::from_wire(wire.backing.get()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(flags: MemoryFlags) -> reply::Memory {
        reply::Memory {
            size: 4096.into(),
            type_index: 2.into(),
            properties: 0xa.into(),
            flags: flags.bits().into(),
            map_info: 1.into(),
            fd_map_info: 3.into(),
            effective_map_info: 2.into(),
            backing: 1.into(),
            padding: 0.into(),
        }
    }

    #[test]
    fn words_without_their_flag_are_not_believed() {
        let memory = Memory::new(&wire(MemoryFlags::NEEDS_SYNC));
        assert!(memory.needs_sync && !memory.agreed);
        assert_eq!(memory.caching, None);
        assert_eq!(memory.file_caching, None);
        assert_eq!(memory.effective_caching, None);
    }

    #[test]
    fn words_with_their_flag_are_translated() {
        let memory = Memory::new(&wire(MemoryFlags::all()));
        assert_eq!(memory.caching, Some(Caching::Cached));
        assert_eq!(memory.file_caching, Some(Caching::WriteCombining));
        assert_eq!(memory.effective_caching, Some(Caching::Uncached));
        assert_eq!(memory.backing, Backing::DmaBuf);
        assert_eq!(
            memory.properties,
            MemoryProperties::HOST_VISIBLE | MemoryProperties::HOST_CACHED
        );
    }

    #[test]
    fn unknown_words_are_no_caching_and_no_backing() {
        for word in [0, 4, 0x31, u32::MAX] {
            assert_eq!(Caching::from_map_info(word), None);
        }
        assert_eq!(Backing::from_wire(9), Backing::Unknown);
    }
}
