//! Guest memory for what is in flight.

use vm_memory::GuestAddress;

use crate::frontend::RING_BYTES;

/// Queues of the device.
pub(super) const QUEUES: usize = 2;

/// Room for a request, in bytes.
pub(super) const REQUEST: u32 = 4096;
/// Room for a response.
pub(super) const RESPONSE: u32 = 2048;
/// Room for an indirect table.
pub(super) const TABLE: u32 = 2048;
const SLOT: u64 = 8192;

/// The memory of one chain.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    index: u64,
}

impl Slot {
    /// Where the request lies.
    pub(super) fn request(self) -> GuestAddress {
        GuestAddress(first() + self.index * SLOT)
    }

    /// Where the response goes.
    pub(super) fn response(self) -> GuestAddress {
        GuestAddress(self.request().0 + u64::from(REQUEST))
    }

    /// Where an indirect table lies.
    pub(super) fn table(self) -> GuestAddress {
        GuestAddress(self.response().0 + u64::from(RESPONSE))
    }
}

/// Slots that are not in use.
#[derive(Debug)]
pub(super) struct Slots {
    free: Vec<Slot>,
}

impl Slots {
    /// As many slots as fit into `ram` bytes behind the rings.
    pub(super) fn new(ram: u64) -> Self {
        let count = ram.saturating_sub(first()) / SLOT;
        Self {
            free: (0..count).rev().map(|index| Slot { index }).collect(),
        }
    }

    /// Takes one, if any is left.
    pub(super) fn take(&mut self) -> Option<Slot> {
        self.free.pop()
    }

    /// Returns one.
    pub(super) fn give_back(&mut self, slot: Slot) {
        self.free.push(slot);
    }
}

/// Bytes of guest RAM for rings and `chains` chains at a time.
pub fn ram_for(chains: usize) -> usize {
    let bytes = first()
        + u64::try_from(chains)
            .unwrap_or(u64::MAX)
            .saturating_mul(SLOT);
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

fn first() -> u64 {
    RING_BYTES * QUEUES as u64
}
