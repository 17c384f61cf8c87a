//! What has to be done for a bracket, as values.

use std::ops::Range;

use coherd_protocol::memory::Access;

/// `DMA_BUF_SYNC_END` in `linux/dma-buf.h`; START is 0.
const DMA_BUF_SYNC_END: u64 = 1 << 2;

/// What makes accesses to a blob coherent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Means {
    /// DMA_BUF_IOCTL_SYNC on the dma-buf.
    DmaBuf,
    /// vkInvalidateMappedMemoryRanges and vkFlushMappedMemoryRanges on mapped memory that is not
    /// coherent, in whole atoms of `nonCoherentAtomSize` bytes.
    Mapped {
        /// Bytes of an atom, a power of two; anything else counts as the next one.
        atom: u64,
    },
    /// Both, for a dma-buf whose exporter leaves the caches to the driver that allocated it.
    DmaBufMapped {
        /// Bytes of an atom, as in [`Means::Mapped`].
        atom: u64,
    },
    /// Nothing: the memory is coherent.
    Coherent,
}

impl Means {
    pub(super) fn dma_buf(self) -> bool {
        matches!(self, Self::DmaBuf | Self::DmaBufMapped { .. })
    }

    pub(super) fn atom(self) -> Option<u64> {
        match self {
            Self::Mapped { atom } | Self::DmaBufMapped { atom } => Some(atom),
            Self::DmaBuf | Self::Coherent => None,
        }
    }
}

/// One of the two ends of a bracket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    /// Before the accesses.
    Start,
    /// After them.
    End,
}

/// One thing to do. The actions of one blob are carried out one at a time, in the order in which
/// they were returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// DMA_BUF_IOCTL_SYNC, repeated while it gives EINTR or EAGAIN. It wants a thread that may
    /// block: START waits without a time-out until the device has finished what was submitted,
    /// and on i915 END waits for what the device writes. A START that fails, fails the bracket
    /// that begins; an END that fails is logged.
    DmaBufSync {
        /// Which end.
        edge: Edge,
        /// What the CPU does in between.
        access: Access,
    },
    /// Make the device's writes to these bytes visible to the CPU. The range is in whole atoms,
    /// cut off at the end of the blob.
    Invalidate(Range<u64>),
    /// Make the CPU's writes to these bytes visible to the device. The range is in whole atoms,
    /// cut off at the end of the blob.
    Flush(Range<u64>),
    /// Order what came before with what comes after: a memory fence.
    Order,
}

impl Action {
    pub(super) fn start(access: Access) -> Self {
        Self::DmaBufSync {
            edge: Edge::Start,
            access,
        }
    }

    pub(super) fn end(access: Access) -> Self {
        Self::DmaBufSync {
            edge: Edge::End,
            access,
        }
    }

    /// Whether it may take as long as the device works.
    pub fn may_block(&self) -> bool {
        matches!(self, Self::DmaBufSync { .. })
    }
}

/// `flags` of `struct dma_buf_sync`.
pub fn dma_buf_sync_flags(edge: Edge, access: Access) -> u64 {
    let edge = match edge {
        Edge::Start => 0,
        Edge::End => DMA_BUF_SYNC_END,
    };
    edge | u64::from(access.bits())
}
