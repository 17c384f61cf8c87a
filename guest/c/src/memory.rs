//! Words about memory.

use crate::constants::COHERD_GUEST_NO_CACHING;
use guest::{Caching, Memory};

/// What memory is.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct coherd_guest_memory {
    /// Bytes.
    pub size: u64,
    /// Place of its type in the host's list.
    pub type_index: u32,
    /// `COHERD_GUEST_DEVICE_LOCAL` and so on.
    pub properties: u32,
    /// How a mapping of it is cached; 0 if it cannot be mapped.
    pub caching: u32,
    /// How the VMM maps it; 0 if the host does not know.
    pub file_caching: u32,
    /// How a mapping is really cached under the host's hypervisor; 0 if the host does not know.
    pub effective_caching: u32,
    /// 0 not known, 1 dma-buf, 2 shared memory, 3 shared memory behind a header.
    pub backing: u32,
    /// Accesses need `coherd_guest_begin` and `coherd_guest_end`.
    pub needs_sync: bool,
    /// All mappings of it have one type, as far as the host knows.
    pub agreed: bool,
}

/// A memory type of the host.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct coherd_guest_memory_type {
    /// `COHERD_GUEST_DEVICE_LOCAL` and so on.
    pub properties: u32,
    /// The heap that it comes from.
    pub heap: u32,
    /// How a mapping of it is cached; 0 if it cannot be mapped.
    pub caching: u32,
    /// Accesses need `coherd_guest_begin` and `coherd_guest_end`.
    pub needs_sync: bool,
}

/// A heap of memory of the host.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct coherd_guest_heap {
    /// Bytes.
    pub size: u64,
    /// It is memory of the GPU.
    pub device_local: bool,
}

/// A format of images, with a modifier.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct coherd_guest_format {
    /// A code of `drm_fourcc.h`.
    pub fourcc: u32,
    /// Memory planes.
    pub planes: u32,
    /// A modifier of `drm_fourcc.h`.
    pub modifier: u64,
    /// `COHERD_GUEST_SAMPLED` and so on.
    pub usage: u32,
}

/// The number of a caching.
pub(crate) fn word(caching: Option<Caching>) -> u32 {
    caching.map_or(COHERD_GUEST_NO_CACHING, |caching| caching as u32)
}

impl From<&Memory> for coherd_guest_memory {
    fn from(memory: &Memory) -> Self {
        Self {
            size: memory.size,
            type_index: memory.type_index,
            properties: memory.properties.bits(),
            caching: word(memory.caching),
            file_caching: word(memory.file_caching),
            effective_caching: word(memory.effective_caching),
            backing: memory.backing as u32,
            needs_sync: memory.needs_sync,
            agreed: memory.agreed,
        }
    }
}
