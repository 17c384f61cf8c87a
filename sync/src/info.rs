//! What is said of blobs.

use std::fmt;

use coherd_protocol::blob_context::reply as context;
use coherd_protocol::memory::{Access, MemoryProperties};
use coherd_protocol::sync::text;
use coherd_protocol::sync::wire::{self, EntryFlags, OpenFlags, Opened};
use zerocopy::little_endian::U32;

/// A blob in a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Its id, never used again in the server's life.
    pub blob: u64,
    /// Its bytes.
    pub size: u64,
    /// The guest's resource.
    pub resource_id: u32,
    /// How many resources with this id were before.
    pub generation: u32,
    /// The context that it was made in, or 0.
    pub context_id: u32,
    /// What is true of it.
    pub flags: EntryFlags,
}

impl From<&wire::Entry> for Entry {
    fn from(entry: &wire::Entry) -> Self {
        Self {
            blob: entry.blob.get(),
            size: entry.size.get(),
            resource_id: entry.resource_id.get(),
            generation: entry.generation.get(),
            context_id: entry.context_id.get(),
            flags: entry.flags(),
        }
    }
}

/// How memory is cached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Caching {
    /// Write-back.
    Cached = 1,
    /// Not at all.
    Uncached = 2,
    /// Writes are combined, reads are slow.
    WriteCombining = 3,
}

impl Caching {
    /// The caching of a `map_info`, or `None` where nothing is known.
    #[must_use]
    pub fn from_wire(map_info: u32) -> Option<Self> {
        match map_info {
            1 => Some(Self::Cached),
            2 => Some(Self::Uncached),
            3 => Some(Self::WriteCombining),
            _ => None,
        }
    }
}

impl fmt::Display for Caching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Cached => "cached",
            Self::Uncached => "uncached",
            Self::WriteCombining => "write-combining",
        })
    }
}

/// What memory a blob is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Properties of its Vulkan memory type; none where the renderer does not say.
    pub properties: MemoryProperties,
    /// What is true of it.
    pub flags: context::MemoryFlags,
    /// What the guest was told.
    pub told: Option<Caching>,
    /// What an mmap of its file gives.
    pub file: Option<Caching>,
    /// What the guest's mapping really is under this host's hypervisor.
    pub effective: Option<Caching>,
    /// What its file is.
    pub backing: Backing,
}

/// What a blob's file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backing {
    /// Not known.
    Unknown = 0,
    /// A dma-buf.
    DmaBuf = 1,
    /// Shared memory.
    Memfd = 2,
    /// Shared memory, behind a header that is not the peer's.
    MemfdWithHeader = 3,
}

impl From<&context::Memory> for Memory {
    fn from(memory: &context::Memory) -> Self {
        let known = |flag, map_info: U32| {
            let flags = context::MemoryFlags::from_bits_truncate(memory.flags.get());
            let known = flags.contains(flag);
            known.then(|| Caching::from_wire(map_info.get())).flatten()
        };
        Self {
            properties: MemoryProperties::from_bits_truncate(memory.properties.get()),
            flags: context::MemoryFlags::from_bits_truncate(memory.flags.get()),
            told: Caching::from_wire(memory.map_info.get()),
            file: known(context::MemoryFlags::FD_KNOWN, memory.fd_map_info),
            effective: known(
                context::MemoryFlags::EFFECTIVE_KNOWN,
                memory.effective_map_info,
            ),
            backing: match memory.backing.get() {
                1 => Backing::DmaBuf,
                2 => Backing::Memfd,
                3 => Backing::MemfdWithHeader,
                _ => Backing::Unknown,
            },
        }
    }
}

/// What an image is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Its DRM format.
    pub fourcc: u32,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Its DRM format modifier.
    pub modifier: u64,
    /// Its planes.
    pub planes: Vec<Plane>,
}

/// A plane of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plane {
    /// Where it begins in the blob, in bytes.
    pub offset: u64,
    /// Bytes from one row to the next.
    pub pitch: u64,
    /// Its bytes.
    pub size: u64,
}

/// What an open blob is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// Its id.
    pub blob: u64,
    /// Its bytes.
    pub size: u64,
    /// Where it begins in its file, in bytes.
    pub data_offset: u64,
    /// Offsets of an mmap of its file are multiples of this.
    pub page_size: u64,
    /// What may be done.
    pub access: Access,
    /// What the file allows, which can be more.
    pub fd_access: Access,
    /// What is true of it.
    pub flags: OpenFlags,
    /// What memory it is.
    pub memory: Memory,
    /// Who exported its file.
    pub exporter: String,
    /// The guest's resource.
    pub resource_id: u32,
    /// How many resources with this id were before.
    pub generation: u32,
    /// The context that it was made in, or 0.
    pub context_id: u32,
    /// What image it is, if it is one.
    pub image: Option<Image>,
}

impl From<&Opened> for Info {
    fn from(opened: &Opened) -> Self {
        let image = || {
            let layout = &opened.layout;
            let count = usize::try_from(layout.plane_count.get()).unwrap_or(usize::MAX);
            let plane = |plane: &context::Plane| Plane {
                offset: plane.offset.get(),
                pitch: plane.pitch.get(),
                size: plane.size.get(),
            };
            Image {
                fourcc: opened.fourcc.get(),
                width: opened.width.get(),
                height: opened.height.get(),
                modifier: layout.modifier.get(),
                planes: layout.planes.iter().take(count).map(plane).collect(),
            }
        };
        Self {
            blob: opened.blob.get(),
            size: opened.memory.size.get(),
            data_offset: opened.data_offset.get(),
            page_size: opened.page_size.get(),
            access: Access::from_bits_truncate(opened.access.get()),
            fd_access: Access::from_bits_truncate(opened.fd_access.get()),
            flags: opened.flags(),
            memory: (&opened.memory).into(),
            exporter: text::decode(&opened.exporter),
            resource_id: opened.resource_id.get(),
            generation: opened.generation.get(),
            context_id: opened.context_id.get(),
            image: opened.flags().contains(OpenFlags::IMAGE).then(image),
        }
    }
}
