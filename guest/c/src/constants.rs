//! Bits and values, those of the protocol.

use guest::{Access, BufferUsage, Caching, ImageUsage, MemoryProperties};

// cbindgen needs literals.
const _: () = {
    assert!(COHERD_GUEST_DEVICE_LOCAL == MemoryProperties::DEVICE_LOCAL.bits());
    assert!(COHERD_GUEST_HOST_VISIBLE == MemoryProperties::HOST_VISIBLE.bits());
    assert!(COHERD_GUEST_HOST_COHERENT == MemoryProperties::HOST_COHERENT.bits());
    assert!(COHERD_GUEST_HOST_CACHED == MemoryProperties::HOST_CACHED.bits());
    assert!(COHERD_GUEST_CACHED == Caching::Cached as u32);
    assert!(COHERD_GUEST_UNCACHED == Caching::Uncached as u32);
    assert!(COHERD_GUEST_WRITE_COMBINING == Caching::WriteCombining as u32);
    assert!(COHERD_GUEST_STORAGE == BufferUsage::STORAGE.bits());
    assert!(COHERD_GUEST_UNIFORM == BufferUsage::UNIFORM.bits());
    assert!(COHERD_GUEST_VERTEX == BufferUsage::VERTEX.bits());
    assert!(COHERD_GUEST_INDEX == BufferUsage::INDEX.bits());
    assert!(COHERD_GUEST_SAMPLED == ImageUsage::SAMPLED.bits());
    assert!(COHERD_GUEST_COLOR == ImageUsage::COLOR.bits());
    assert!(COHERD_GUEST_SCANOUT == ImageUsage::SCANOUT.bits());
    assert!(COHERD_GUEST_READ == Access::READ.bits());
    assert!(COHERD_GUEST_WRITE == Access::WRITE.bits());
};

/// Bit of the `usage` of an allocation: shaders read and write it.
pub const COHERD_GUEST_STORAGE: u32 = 1;

/// Bit of the `usage` of an allocation: shaders read it as constants.
pub const COHERD_GUEST_UNIFORM: u32 = 2;

/// Bit of the `usage` of an allocation: it holds vertices.
pub const COHERD_GUEST_VERTEX: u32 = 4;

/// Bit of the `usage` of an allocation: it holds indices.
pub const COHERD_GUEST_INDEX: u32 = 8;

/// Bit of the `usage` of an image: shaders sample it.
pub const COHERD_GUEST_SAMPLED: u32 = 1;

/// Bit of the `usage` of an image: it is drawn to.
pub const COHERD_GUEST_COLOR: u32 = 2;

/// Bit of the `usage` of an image: it is shown.
pub const COHERD_GUEST_SCANOUT: u32 = 4;

/// Access: reading.
pub const COHERD_GUEST_READ: u32 = 1;

/// Access: writing.
pub const COHERD_GUEST_WRITE: u32 = 2;

/// Bit of `properties`: fast for the GPU.
pub const COHERD_GUEST_DEVICE_LOCAL: u32 = 1;

/// Bit of `properties`: it can be mapped.
pub const COHERD_GUEST_HOST_VISIBLE: u32 = 2;

/// Bit of `properties`: accesses through a mapping need no `coherd_guest_begin` and
/// `coherd_guest_end`.
pub const COHERD_GUEST_HOST_COHERENT: u32 = 4;

/// Bit of `properties`: a mapping is cached.
pub const COHERD_GUEST_HOST_CACHED: u32 = 8;

/// A caching: nothing is known, or there is no mapping.
pub const COHERD_GUEST_NO_CACHING: u32 = 0;

/// A caching: as ordinary memory.
pub const COHERD_GUEST_CACHED: u32 = 1;

/// A caching: each access goes to memory.
pub const COHERD_GUEST_UNCACHED: u32 = 2;

/// A caching: writes are collected, reads go to memory.
pub const COHERD_GUEST_WRITE_COMBINING: u32 = 3;
