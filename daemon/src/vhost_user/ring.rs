//! One virtqueue and its place in the ring state machine of vhost-user.
//!
//! A ring is *active* while it is started (it has a kick fd) and enabled. Only an active ring is
//! read, written or signalled; completions for a stopped ring wait until it is active again.

use std::fs::File;
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;

use tracing::warn;
use virtio_queue::{DescriptorChain, Queue, QueueT};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use crate::memory::GuestMemory;
use crate::reactor;

/// Largest queue a front-end may set, in descriptors.
pub const MAX_QUEUE_SIZE: u16 = 1024;

/// Bytes of an element of the used ring.
const USED_ELEMENT: u64 = 8;

/// A finished descriptor chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used {
    /// Index of the chain's first descriptor.
    pub head: u16,
    /// Bytes written to the chain.
    pub len: u32,
}

/// A virtqueue.
#[derive(Debug)]
pub struct Ring {
    queue: Queue,
    kick: Option<File>,
    call: Option<File>,
    enabled: bool,
    /// Position set since the ring was last active.
    base: Option<u16>,
    /// Whether anything was taken from the ring since the driver set it up.
    used_before: bool,
    deferred: Vec<Used>,
}

impl Ring {
    /// A stopped, disabled ring.
    ///
    /// # Errors
    /// Never with [`MAX_QUEUE_SIZE`]; the type is virtio-queue's.
    pub fn new() -> Result<Self, virtio_queue::Error> {
        Ok(Self {
            queue: Queue::new(MAX_QUEUE_SIZE)?,
            kick: None,
            call: None,
            enabled: false,
            base: None,
            used_before: false,
            deferred: Vec::new(),
        })
    }

    /// Whether the ring may be processed.
    pub fn is_active(&self) -> bool {
        self.enabled && self.kick.is_some()
    }

    /// Sets the number of descriptors; `false` if it is not a power of two within bounds.
    #[must_use]
    pub fn set_size(&mut self, size: u32) -> bool {
        u16::try_from(size).is_ok_and(|size| self.queue.try_set_size(size).is_ok())
    }

    /// Sets where the ring lies; `false` if an address is not aligned.
    #[must_use]
    pub fn set_addresses(
        &mut self,
        desc: GuestAddress,
        avail: GuestAddress,
        used: GuestAddress,
    ) -> bool {
        self.queue.try_set_desc_table_address(desc).is_ok()
            && self.queue.try_set_avail_ring_address(avail).is_ok()
            && self.queue.try_set_used_ring_address(used).is_ok()
    }

    /// Sets the position at which the ring goes on.
    pub fn set_base(&mut self, base: u16) {
        self.base = Some(base);
    }

    /// Position of the next descriptor chain to take.
    pub fn position(&self) -> u16 {
        self.queue.next_avail()
    }

    /// Sets whether EVENT_IDX was negotiated.
    pub fn set_event_idx(&mut self, enabled: bool) {
        self.queue.set_event_idx(enabled);
    }

    /// Enables or disables the ring.
    pub fn set_enabled(&mut self, enabled: bool) {
        self.enabled = enabled;
        if !enabled {
            self.deactivate();
        }
    }

    /// Replaces the kick fd and returns the old one.
    pub fn set_kick(&mut self, kick: Option<File>) -> Option<File> {
        std::mem::replace(&mut self.kick, kick)
    }

    /// The kick fd.
    pub fn kick(&self) -> Option<&File> {
        self.kick.as_ref()
    }

    /// Replaces the call fd. QEMU starts a ring with one that it does not listen to, so the
    /// driver is signalled once more on the new one.
    pub fn set_call(&mut self, call: Option<File>) {
        self.call = call;
        if self.is_active() {
            self.notify();
        }
    }

    /// Whether the driver started the ring anew since it was last active, rather than the VMM
    /// having paused it.
    ///
    /// Both look the same on the wire but for the position, which a new driver starts at 0. A
    /// paused ring can be at 0 too, once in 65536 chains; then its used ring is full of elements,
    /// while the driver zeroes a new one.
    pub fn is_reset(&self, memory: &GuestMemoryMmap) -> bool {
        match self.base {
            None => false,
            Some(0) if self.position() == 0 && self.used_before => {
                let last = u64::from(self.queue.size().saturating_sub(1)) * USED_ELEMENT;
                let len = self
                    .queue
                    .used_ring()
                    .checked_add(4 + last + 4)
                    .map(GuestAddress);
                len.and_then(|len| memory.read_obj::<u32>(len).ok())
                    .is_none_or(|len| len == 0)
            }
            Some(base) => base == 0,
        }
    }

    /// Makes the queue of an active ring ready to be processed from the position that was set;
    /// `true` if it was not.
    #[must_use]
    pub fn activate(&mut self, memory: &GuestMemoryMmap) -> bool {
        if !self.is_active() || self.queue.ready() {
            return false;
        }
        if let Some(base) = self.base.take() {
            self.queue.set_next_avail(base);
        }
        match self.queue.used_idx(memory, Ordering::Acquire) {
            Ok(used) => self.queue.set_next_used(used.0),
            Err(error) => warn!(%error, "ring is outside guest memory"),
        }
        self.queue.set_ready(true);
        true
    }

    /// Stops processing.
    pub fn deactivate(&mut self) {
        self.queue.set_ready(false);
    }

    /// Forgets what an earlier driver left.
    pub fn forget(&mut self) {
        self.deferred.clear();
        self.used_before = false;
    }

    /// Takes the next descriptor chain, if the ring is active and has one.
    pub fn pop(&mut self, memory: &GuestMemory) -> Option<DescriptorChain<GuestMemory>> {
        if !self.is_active() {
            return None;
        }
        let chain = self.queue.pop_descriptor_chain(GuestMemory::clone(memory));
        self.used_before |= chain.is_some();
        chain
    }

    /// Returns chains to the driver, or keeps them until the ring is active.
    pub fn push(&mut self, memory: &GuestMemoryMmap, used: &[Used]) {
        if !self.is_active() {
            self.deferred.extend_from_slice(used);
            return;
        }
        for used in used {
            // A ring outside guest memory is the guest's loss alone.
            let _ = self.queue.add_used(memory, used.head, used.len);
        }
        if self.queue.needs_notification(memory).unwrap_or(true) {
            self.notify();
        }
    }

    /// Returns the chains that waited while the ring was stopped, and signals the driver in any
    /// case: a signal may have been lost with the old call fd.
    pub fn flush(&mut self, memory: &GuestMemoryMmap) {
        let deferred = std::mem::take(&mut self.deferred);
        self.push(memory, &deferred);
        self.notify();
    }

    /// Asks the driver not to kick while the ring is being processed.
    pub fn disable_kicks(&mut self, memory: &GuestMemoryMmap) {
        if self.is_active() {
            let _ = self.queue.disable_notification(memory);
        }
    }

    /// Asks for kicks again; `true` if chains came in meanwhile.
    pub fn enable_kicks(&mut self, memory: &GuestMemoryMmap) -> bool {
        self.is_active() && self.queue.enable_notification(memory).unwrap_or(false)
    }

    /// Takes the kicks that have come.
    pub fn drain_kick(&self) {
        if let Some(kick) = &self.kick {
            reactor::drain(kick.as_fd());
        }
    }

    fn notify(&self) {
        if let Some(call) = &self.call {
            reactor::signal(call.as_fd());
        }
    }
}
