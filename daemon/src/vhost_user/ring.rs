//! One virtqueue and its place in the ring state machine of vhost-user.
//!
//! A ring is *active* while it is started (it has a kick fd) and enabled. Only an active ring is
//! read, written or signalled; completions for a stopped ring wait until it is active again.
//!
//! As many chains are out at a time as the ring has descriptors. A driver has no more, unless it
//! offers a chain again that it has not got back, and what is kept for it must not grow.

use std::fs::File;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use virtio_bindings::virtio_ring::VRING_AVAIL_F_NO_INTERRUPT;
use virtio_queue::{DescriptorChain, Queue, QueueOwnedT, QueueT};
use vm_memory::{Bytes, GuestAddress};

use coherd_protocol::gpu::limits::MAX_QUEUE_SIZE;

use crate::dirty_log::DirtyLog;
use crate::memory::{GuestMemory, Ram};
use crate::reactor;
use crate::snapshot::RingState;

/// Bytes before the elements of the used ring, of an element, and of what is said about kicks.
const USED_HEADER: u64 = 4;
const USED_ELEMENT: u64 = 8;
const KICK_WISH: u64 = 2;

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
    /// Whether its size, and its addresses, can be right.
    sized: bool,
    placed: bool,
    /// Position set since the ring was last active.
    base: Option<u16>,
    /// Whether anything was taken from the ring since the driver set it up.
    used_before: bool,
    /// The life of the device in which the driver started it.
    since: u64,
    /// Chains that were taken and not returned.
    out: u16,
    /// Chains to return once the ring is active.
    deferred: Vec<Used>,
    /// The chain before the position is to be taken again, as in the state that was loaded.
    rewinds: bool,
    /// Where writes to the used ring are logged, and as which guest physical address.
    log: Option<(Arc<DirtyLog>, u64)>,
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
            sized: true,
            placed: true,
            base: None,
            used_before: false,
            since: 0,
            out: 0,
            deferred: Vec::new(),
            rewinds: false,
            log: None,
        })
    }

    /// Whether the ring may be processed.
    pub fn is_active(&self) -> bool {
        self.enabled && self.kick.is_some()
    }

    /// Sets the number of descriptors. A ring with a size that is not a power of two within bounds
    /// stays still: QEMU passes on what the guest wrote.
    pub fn set_size(&mut self, size: u32) {
        self.sized = u16::try_from(size).is_ok_and(|size| self.queue.try_set_size(size).is_ok());
    }

    /// Sets where the descriptors, the available and the used ring lie. With `None`, for an
    /// address outside guest memory, or with one that is not aligned the ring stays still.
    pub fn set_addresses(&mut self, addresses: Option<[GuestAddress; 3]>) {
        self.placed = addresses.is_some_and(|[desc, avail, used]| {
            self.queue.try_set_desc_table_address(desc).is_ok()
                && self.queue.try_set_avail_ring_address(avail).is_ok()
                && self.queue.try_set_used_ring_address(used).is_ok()
        });
    }

    /// Logs what is written to the used ring as if it lay at this guest physical address
    /// (VHOST_VRING_F_LOG), or does not.
    pub fn set_log(&mut self, log: Option<(Arc<DirtyLog>, u64)>) {
        self.log = log;
    }

    /// Logs that `len` bytes were written at an offset in the used ring.
    fn log_used(&self, offset: u64, len: u64) {
        if let Some((log, address)) = &self.log {
            log.mark(address.saturating_add(offset), len);
        }
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

    /// Replaces the kick fd and returns the old one. Without one the ring is stopped.
    pub fn set_kick(&mut self, kick: Option<File>) -> Option<File> {
        if kick.is_none() {
            self.deactivate();
        }
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
    /// paused ring can be at 0 too: before its first chain, when nothing is lost, and once in
    /// 65536 chains; then its used ring is full of elements, while the driver zeroes a new one.
    pub fn is_reset(&self, memory: &Ram) -> bool {
        match self.base {
            None => false,
            Some(0) if self.position() == 0 && self.used_before => !self.has_used(memory),
            Some(base) => base == 0,
        }
    }

    /// Whether anything but zeros is in the used ring.
    fn has_used(&self, memory: &Ram) -> bool {
        let len = usize::try_from(self.used_end() - USED_HEADER).unwrap_or(0);
        let mut elements = vec![0; len];
        let start = self.queue.used_ring().checked_add(USED_HEADER);
        let read = start.map(|start| memory.read_slice(&mut elements, GuestAddress(start)));
        matches!(read, Some(Ok(()))) && elements.iter().any(|byte| *byte != 0)
    }

    /// Makes the queue of an active ring ready to be processed from the position that was set;
    /// `true` if it was not. What an earlier driver left in it is void in this `life`.
    #[must_use]
    pub fn activate(&mut self, memory: &Ram, life: u64) -> bool {
        if !self.is_active() || self.queue.ready() {
            return false;
        }
        if self.is_reset(memory) {
            self.forget(life);
        }
        if let Some(base) = self.base.take() {
            let goes_on = base == self.position();
            let back = std::mem::take(&mut self.rewinds) && goes_on;
            self.queue
                .set_next_avail(base.wrapping_sub(u16::from(back)));
        }
        self.queue.set_ready(true);
        // Where a part of the ring is outside guest memory, the ring stays still.
        let usable = self.sized && self.placed && self.queue.is_valid(memory);
        self.queue.set_ready(usable);
        if let Ok(used) = self.queue.used_idx(memory, Ordering::Acquire) {
            self.queue.set_next_used(used.0);
        }
        true
    }

    /// Stops processing.
    pub fn deactivate(&mut self) {
        self.queue.set_ready(false);
    }

    /// Forgets what an earlier driver left: the ring begins in this `life`.
    pub fn forget(&mut self, life: u64) {
        self.since = life;
        self.deferred.clear();
        self.used_before = false;
        self.rewinds = false;
        self.out = 0;
    }

    /// Whether chains that were taken in `life` are the present driver's.
    pub fn knows(&self, life: u64) -> bool {
        life >= self.since
    }

    /// What it is, to be saved.
    pub fn save(&self) -> RingState {
        RingState {
            position: self.position(),
            used_before: self.used_before,
            deferred: self.deferred.clone(),
            parked: None,
        }
    }

    /// Becomes what was saved. The VMM sets it up and starts it.
    pub fn load(&mut self, saved: &RingState) {
        self.queue.set_next_avail(saved.position);
        self.used_before = saved.used_before;
        self.deferred.clone_from(&saved.deferred);
        self.out = u16::try_from(saved.deferred.len()).unwrap_or(u16::MAX);
        self.rewinds = saved.parked.is_some();
    }

    /// Takes the next descriptor chain, if the ring is active and has one.
    pub fn pop(&mut self, memory: &GuestMemory) -> Option<DescriptorChain<GuestMemory>> {
        if !self.is_active() || self.out >= self.queue.size() {
            return None;
        }
        let mut available = self.queue.iter(GuestMemory::clone(memory)).ok()?;
        let chain = available.next()?;
        self.used_before = true;
        self.out += 1;
        Some(chain)
    }

    /// Returns chains to the driver, or keeps them until the ring is active and those that wait
    /// already have gone.
    pub fn push(&mut self, memory: &Ram, used: &[Used]) {
        if !self.is_active() || !self.deferred.is_empty() {
            self.deferred.extend_from_slice(used);
            return;
        }
        for used in used {
            self.out = self.out.saturating_sub(1);
            // A chain that does not exist and a ring outside guest memory are the guest's loss.
            if used.head < self.queue.size() {
                let slot = u64::from(self.queue.next_used() % self.queue.size());
                let _ = self.queue.add_used(memory, used.head, used.len);
                self.log_used(USED_HEADER + slot * USED_ELEMENT, USED_ELEMENT);
                self.log_used(0, USED_HEADER);
            }
        }
        if self.wants_signal(memory) {
            self.notify();
        }
    }

    fn wants_signal(&mut self, memory: &Ram) -> bool {
        let wanted = self.queue.needs_notification(memory).unwrap_or(true);
        if self.queue.event_idx_enabled() {
            return wanted;
        }
        // The library does not look at the flag.
        let flags: u16 = memory
            .load(GuestAddress(self.queue.avail_ring()), Ordering::Relaxed)
            .unwrap_or(0);
        u32::from(u16::from_le(flags)) & VRING_AVAIL_F_NO_INTERRUPT == 0
    }

    /// Returns the chains that waited while the ring was stopped, and signals the driver in any
    /// case: a signal may have been lost with the old call fd.
    pub fn flush(&mut self, memory: &Ram) {
        let deferred = std::mem::take(&mut self.deferred);
        self.push(memory, &deferred);
        self.notify();
    }

    /// Asks the driver not to kick while the ring is being processed.
    pub fn disable_kicks(&mut self, memory: &Ram) {
        if self.is_active() {
            let _ = self.queue.disable_notification(memory);
            self.log_kick_wish();
        }
    }

    /// Asks for kicks again; `true` if chains came in meanwhile.
    pub fn enable_kicks(&mut self, memory: &Ram) -> bool {
        let more = self.is_active() && self.queue.enable_notification(memory).unwrap_or(false);
        self.log_kick_wish();
        more
    }

    /// Logs that the driver was told when to kick, by a flag in front of the used ring or by the
    /// position behind it.
    fn log_kick_wish(&self) {
        let by_position = self.queue.event_idx_enabled();
        let offset = if by_position { self.used_end() } else { 0 };
        self.log_used(offset, KICK_WISH);
    }

    /// Bytes of the used ring up to the end of its elements.
    fn used_end(&self) -> u64 {
        USED_HEADER + u64::from(self.queue.size()) * USED_ELEMENT
    }

    /// Takes the kicks that have come; `false` if the fd has hung up and no more will come.
    #[must_use]
    pub fn drain_kick(&self) -> bool {
        self.kick
            .as_ref()
            .is_none_or(|kick| reactor::drain(kick.as_fd()))
    }

    fn notify(&self) {
        if let Some(call) = &self.call {
            reactor::signal(call.as_fd());
        }
    }
}

#[cfg(test)]
mod tests;
