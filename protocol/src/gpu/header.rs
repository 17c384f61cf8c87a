//! The header that starts every request and every response, VIRTIO 1.4 section 5.7.6.7.

use bitflags::bitflags;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

bitflags! {
    /// Flags of a header.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct HeaderFlags: u32 {
        /// Answer only when the work is complete, and repeat `fence_id` in the answer.
        const FENCE = 1 << 0;
        /// `ring_idx` names the timeline of the fence within the context.
        const INFO_RING_IDX = 1 << 1;
    }
}

/// `struct virtio_gpu_ctrl_hdr`, 24 bytes.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    FromBytes,
    IntoBytes,
    KnownLayout,
    Immutable,
    Unaligned,
)]
#[repr(C)]
pub struct Header {
    /// Command or response code.
    pub kind: U32,
    /// [`HeaderFlags`].
    pub flags: U32,
    /// Fence to signal, valid with [`HeaderFlags::FENCE`].
    pub fence_id: U64,
    /// Context of a 3D command.
    pub ctx_id: U32,
    /// Ring of the fence, valid with [`HeaderFlags::INFO_RING_IDX`].
    pub ring_idx: u8,
    /// Zero.
    pub padding: [u8; 3],
}

impl Header {
    /// Bytes of a header.
    pub const LEN: usize = size_of::<Self>();

    /// The flags this crate knows; unknown bits are dropped.
    pub fn flags(&self) -> HeaderFlags {
        HeaderFlags::from_bits_truncate(self.flags.get())
    }

    /// The fence the sender asked for, if any.
    pub fn fence(&self) -> Option<Fence> {
        let flags = self.flags();
        flags.contains(HeaderFlags::FENCE).then(|| Fence {
            id: self.fence_id.get(),
            timeline: if flags.contains(HeaderFlags::INFO_RING_IDX) {
                Timeline::Ring {
                    ctx_id: self.ctx_id.get(),
                    ring_idx: self.ring_idx,
                }
            } else {
                Timeline::Global
            },
        })
    }

    /// The header of the answer to this request: `kind` replaced, and the fence repeated, on
    /// errors too, because Linux signals from the response flag whatever the code is.
    pub fn response(&self, kind: u32) -> Self {
        let flags = self.flags();
        if !flags.contains(HeaderFlags::FENCE) {
            return Self {
                kind: kind.into(),
                ..Self::default()
            };
        }
        Self {
            kind: kind.into(),
            flags: flags.bits().into(),
            padding: [0; 3],
            ..*self
        }
    }
}

/// The order in which fences complete: a timeline completes in the order of its submissions,
/// timelines are independent of each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Timeline {
    /// Fences without [`HeaderFlags::INFO_RING_IDX`].
    Global,
    /// Fences of one ring of one context.
    Ring {
        /// Context the ring belongs to.
        ctx_id: u32,
        /// Ring within the context.
        ring_idx: u8,
    },
}

/// A fence request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fence {
    /// Number chosen by the driver, one counter for all timelines.
    pub id: u64,
    /// Where it is ordered.
    pub timeline: Timeline,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_is_24_bytes() {
        assert_eq!(Header::LEN, 24);
    }

    #[test]
    fn response_repeats_the_fence_and_its_ring() {
        let request = Header {
            kind: 0x0207.into(),
            flags: 3.into(),
            fence_id: 77.into(),
            ctx_id: 5.into(),
            ring_idx: 9,
            padding: [0xff; 3],
        };

        let response = request.response(0x1200);

        assert_eq!(response.kind.get(), 0x1200);
        assert_eq!(response.fence(), request.fence());
        assert_eq!(response.padding, [0; 3]);
    }

    #[test]
    fn response_to_an_unfenced_request_carries_no_fence() {
        let request = Header {
            fence_id: 77.into(),
            ctx_id: 5.into(),
            ..Header::default()
        };

        let response = request.response(0x1100);

        assert_eq!(response.fence(), None);
        assert_eq!(response.fence_id.get(), 0);
    }
}
