//! Words about memory that every format here shares.

use bitflags::bitflags;

bitflags! {
    /// Properties of a memory type, with the bits of `VkMemoryPropertyFlagBits`.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct MemoryProperties: u32 {
        /// Fast for the GPU.
        const DEVICE_LOCAL = 1 << 0;
        /// The CPU can map it.
        const HOST_VISIBLE = 1 << 1;
        /// Accesses of the CPU need no flush and no invalidate.
        const HOST_COHERENT = 1 << 2;
        /// The CPU's accesses are cached.
        const HOST_CACHED = 1 << 3;
    }
}

bitflags! {
    /// What the CPU does to memory, with the bits of `struct dma_buf_sync`.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Access: u32 {
        /// It reads.
        const READ = 1 << 0;
        /// It writes.
        const WRITE = 1 << 1;
    }
}
