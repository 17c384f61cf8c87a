//! Where a queue lies in guest memory, and the event file descriptors of its ring.

use std::sync::{Arc, Mutex};

use rustix::io::Errno;
use vm_memory::bitmap::Bitmap;
use vm_memory::{Address, Bytes, GuestAddress, GuestMemoryMmap};

use super::deadline::Deadline;
use super::event::Event;
use super::lock;
use super::memory::MemoryError;

/// The largest queue the layout has room for.
pub const MAX_QUEUE_SIZE: u16 = 1024;

/// Guest memory set aside for one queue of [`MAX_QUEUE_SIZE`] descriptors.
pub const RING_BYTES: u64 = 32 << 10;

/// The three parts of a split virtqueue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingLayout {
    /// Descriptors.
    pub size: u16,
    /// The descriptor table.
    pub desc: GuestAddress,
    /// The driver area.
    pub avail: GuestAddress,
    /// The device area.
    pub used: GuestAddress,
}

impl RingLayout {
    /// A queue of `size` descriptors that starts at `base`, which is page aligned.
    pub fn at(base: GuestAddress, size: u16) -> Self {
        let avail = base.unchecked_add(16 * u64::from(size));
        let used = avail.unchecked_add(6 + 2 * u64::from(size));
        Self {
            size,
            desc: base,
            avail,
            used: GuestAddress(used.0.next_multiple_of(4)),
        }
    }

    /// Zeroes the ring, as a driver does when it sets a queue up.
    ///
    /// # Errors
    /// [`MemoryError::Access`] if the ring is outside guest memory.
    pub fn clear<B>(&self, memory: &GuestMemoryMmap<B>) -> Result<(), MemoryError>
    where
        B: Bitmap + 'static,
    {
        let end = self.used.unchecked_add(6 + 8 * u64::from(self.size));
        let len = usize::try_from(end.0 - self.desc.0).unwrap_or(0);
        Ok(memory.write_slice(&vec![0; len], self.desc)?)
    }
}

#[derive(Debug)]
struct Inner {
    layout: RingLayout,
    kick: Mutex<Arc<Event>>,
    call: Event,
    masked: Event,
    error: Event,
}

/// A queue as the VMM has set it up; clones are handles to the same one.
#[derive(Clone, Debug)]
pub struct Ring(Arc<Inner>);

impl Ring {
    pub(super) fn new(layout: RingLayout) -> Result<Self, Errno> {
        Ok(Self(Arc::new(Inner {
            layout,
            kick: Mutex::new(Arc::new(Event::new()?)),
            call: Event::new()?,
            masked: Event::new()?,
            error: Event::new()?,
        })))
    }

    /// Where the queue lies.
    pub fn layout(&self) -> RingLayout {
        self.0.layout
    }

    /// The guest rings the doorbell.
    ///
    /// # Errors
    /// What `write` reports.
    pub fn kick(&self) -> Result<(), Errno> {
        self.kick_event().signal()
    }

    /// Waits for an interrupt and clears it; `false` after the deadline.
    ///
    /// # Errors
    /// What the file descriptor reports.
    pub fn wait_call(&self, deadline: Deadline) -> Result<bool, Errno> {
        Ok(deadline.readable(&self.0.call)? && self.0.call.take()? > 0)
    }

    /// Interrupts since the last look.
    ///
    /// # Errors
    /// What the file descriptor reports.
    pub fn take_calls(&self) -> Result<u64, Errno> {
        self.0.call.take()
    }

    pub(super) fn kick_event(&self) -> Arc<Event> {
        Arc::clone(&lock(&self.0.kick))
    }

    /// Replaces the doorbell: a kick that the backend has not seen is lost, as on QEMU.
    pub(super) fn renew_kick(&self) -> Result<Arc<Event>, Errno> {
        let fresh = Arc::new(Event::new()?);
        *lock(&self.0.kick) = Arc::clone(&fresh);
        Ok(fresh)
    }

    pub(super) fn call_event(&self) -> &Event {
        &self.0.call
    }

    pub(super) fn masked_event(&self) -> &Event {
        &self.0.masked
    }

    pub(super) fn error_event(&self) -> &Event {
        &self.0.error
    }

    /// Delivers the interrupts that came while they were masked.
    pub(super) fn unmask(&self) -> Result<(), Errno> {
        if self.0.masked.take()? > 0 {
            self.0.call.signal()?;
        }
        Ok(())
    }
}
