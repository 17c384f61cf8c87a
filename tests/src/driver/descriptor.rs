//! Buffers, and the descriptors that name them to the device.

use virtio_bindings::virtio_ring::{VRING_DESC_F_INDIRECT, VRING_DESC_F_NEXT, VRING_DESC_F_WRITE};
use vm_memory::GuestAddress;

/// A piece of guest memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffer {
    /// Guest-physical address.
    pub addr: GuestAddress,
    /// Bytes.
    pub len: u32,
}

/// A descriptor as it lies in a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Descriptor {
    /// Guest-physical address.
    pub addr: u64,
    /// Bytes.
    pub len: u32,
    /// VRING_DESC_F_NEXT, WRITE and INDIRECT.
    pub flags: u16,
    /// The next descriptor of the chain.
    pub next: u16,
}

impl Descriptor {
    /// Bytes of a descriptor.
    pub const LEN: u64 = 16;
    /// `flags`: the chain goes on at `next`.
    pub const NEXT: u16 = flag(VRING_DESC_F_NEXT);
    /// `flags`: the device writes.
    pub const WRITE: u16 = flag(VRING_DESC_F_WRITE);
    /// `flags`: a table of descriptors.
    pub const INDIRECT: u16 = flag(VRING_DESC_F_INDIRECT);

    /// The descriptor as it lies in a table.
    pub fn to_bytes(self) -> Vec<u8> {
        [
            self.addr.to_le_bytes().as_slice(),
            &self.len.to_le_bytes(),
            &self.flags.to_le_bytes(),
            &self.next.to_le_bytes(),
        ]
        .concat()
    }
}

/// Descriptors of a chain without their `next`.
pub(super) fn descriptors(read: &[Buffer], write: &[Buffer]) -> Vec<Descriptor> {
    let last = (read.len() + write.len()).saturating_sub(1);
    let readable = read.iter().map(|buffer| (buffer, 0));
    let writable = write.iter().map(|buffer| (buffer, Descriptor::WRITE));
    readable
        .chain(writable)
        .enumerate()
        .map(|(position, (buffer, flags))| Descriptor {
            addr: buffer.addr.0,
            len: buffer.len,
            flags: if position == last {
                flags
            } else {
                flags | Descriptor::NEXT
            },
            next: 0,
        })
        .collect()
}

/// A ring flag in the width it has in the ring.
pub(super) const fn flag(bits: u32) -> u16 {
    assert!(bits <= u16::MAX as u32, "ring flags have 16 bits");
    #[allow(clippy::cast_possible_truncation, reason = "checked above")]
    {
        bits as u16
    }
}
