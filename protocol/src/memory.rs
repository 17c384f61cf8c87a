//! What memory can do and what a user of it does, as numbers on the wire.
//!
//! The blob context (guest) and the sync protocol (host processes) share them.

use bitflags::bitflags;

bitflags! {
    /// Properties of a memory type, with the values of `VkMemoryPropertyFlagBits`.
    ///
    /// Vulkan promises that HOST_COHERENT and HOST_CACHED come with HOST_VISIBLE only.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct MemoryProperties: u32 {
        /// Near the device: the fastest for its own accesses.
        const DEVICE_LOCAL = 1;
        /// The CPU can map it.
        const HOST_VISIBLE = 2;
        /// CPU and device see each other's writes without flush or invalidate.
        const HOST_COHERENT = 4;
        /// CPU accesses go through its caches.
        const HOST_CACHED = 8;
    }
}

bitflags! {
    /// What a CPU access does, with the values of `DMA_BUF_SYNC_READ` and `DMA_BUF_SYNC_WRITE`
    /// in `linux/dma-buf.h`.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Access: u32 {
        /// The CPU reads.
        const READ = 1;
        /// The CPU writes.
        const WRITE = 2;
    }
}
