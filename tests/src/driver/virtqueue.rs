//! The driver's side of a split virtqueue, VIRTIO 1.4 section 2.7.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{Ordering, fence};

use thiserror::Error;
use virtio_bindings::virtio_ring::{VRING_AVAIL_F_NO_INTERRUPT, VRING_USED_F_NO_NOTIFY};
use vm_memory::{Address, Bytes, GuestAddress, GuestMemoryError, GuestMemoryMmap};

use super::descriptor::{Buffer, Descriptor, descriptors, flag};
use crate::frontend::RingLayout;

/// Why a queue operation failed.
#[derive(Debug, Error)]
pub enum VirtqueueError {
    /// Too few descriptors are free.
    #[error("queue is full")]
    Full,
    /// The chain has no buffer, or more than the queue has descriptors.
    #[error("chain of {0} buffers")]
    ChainLength(usize),
    /// The device returned a chain that it was not given.
    #[error("device returned unknown chain {0}")]
    UnknownChain(u32),
    /// The ring could not be accessed.
    #[error("ring access failed")]
    Memory(#[from] GuestMemoryError),
}

/// A chain the device returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used {
    /// First descriptor of the chain.
    pub head: u16,
    /// Bytes the device says it wrote.
    pub len: u32,
}

/// The driver's side of a split virtqueue.
#[derive(Debug)]
pub struct Virtqueue {
    memory: GuestMemoryMmap,
    layout: RingLayout,
    event_idx: bool,
    next_avail: u16,
    kicked_at: u16,
    last_used: u16,
    free: VecDeque<u16>,
    chains: BTreeMap<u16, Vec<u16>>,
}

impl Virtqueue {
    /// A queue whose ring is zeroed and was not used.
    pub fn new(memory: GuestMemoryMmap, layout: RingLayout, event_idx: bool) -> Self {
        Self {
            memory,
            layout,
            event_idx,
            next_avail: 0,
            kicked_at: 0,
            last_used: 0,
            free: (0..layout.size).collect(),
            chains: BTreeMap::new(),
        }
    }

    /// Descriptors that are not in a chain.
    pub fn free_descriptors(&self) -> usize {
        self.free.len()
    }

    /// Makes a chain available: what the device reads, then what it writes. Returns its head.
    ///
    /// # Errors
    /// See [`VirtqueueError`].
    pub fn add(&mut self, read: &[Buffer], write: &[Buffer]) -> Result<u16, VirtqueueError> {
        let indexes = self.take_descriptors(read.len() + write.len())?;
        for (position, descriptor) in descriptors(read, write).into_iter().enumerate() {
            let next = indexes.get(position + 1).copied().unwrap_or(0);
            let index = indexes.get(position).copied().unwrap_or(0);
            self.write_descriptor(index, Descriptor { next, ..descriptor })?;
        }
        self.offer(indexes)
    }

    /// Makes a chain available through an indirect table at `table`, which has room for one
    /// [`Descriptor`] per buffer. Returns the chain's head.
    ///
    /// # Errors
    /// See [`VirtqueueError`].
    pub fn add_indirect(
        &mut self,
        table: GuestAddress,
        read: &[Buffer],
        write: &[Buffer],
    ) -> Result<u16, VirtqueueError> {
        let entries: Vec<u8> = descriptors(read, write)
            .into_iter()
            .zip(1..)
            .flat_map(|(descriptor, next)| Descriptor { next, ..descriptor }.to_bytes())
            .collect();
        let len = u32::try_from(entries.len())
            .map_err(|_| VirtqueueError::ChainLength(read.len() + write.len()))?;
        self.memory.write_slice(&entries, table)?;
        let indexes = self.take_descriptors(1)?;
        let indirect = Descriptor {
            addr: table.0,
            len,
            flags: Descriptor::INDIRECT,
            next: 0,
        };
        self.write_descriptor(indexes.first().copied().unwrap_or(0), indirect)?;
        self.offer(indexes)
    }

    /// Takes descriptors out of the pool for a chain built by hand; [`Self::pop`] returns them.
    ///
    /// # Errors
    /// [`VirtqueueError::Full`] and [`VirtqueueError::ChainLength`].
    pub fn take_descriptors(&mut self, count: usize) -> Result<Vec<u16>, VirtqueueError> {
        if count == 0 || count > usize::from(self.layout.size) {
            return Err(VirtqueueError::ChainLength(count));
        }
        if count > self.free.len() {
            return Err(VirtqueueError::Full);
        }
        Ok(self.free.drain(..count).collect())
    }

    /// Writes one descriptor of the queue's table.
    ///
    /// # Errors
    /// [`VirtqueueError::Memory`].
    pub fn write_descriptor(
        &self,
        index: u16,
        descriptor: Descriptor,
    ) -> Result<(), VirtqueueError> {
        let offset = Descriptor::LEN * u64::from(index);
        let addr = self.layout.desc.unchecked_add(offset);
        Ok(self.memory.write_slice(&descriptor.to_bytes(), addr)?)
    }

    /// Makes the chain of `indexes`, written by hand, available under its first descriptor.
    ///
    /// # Errors
    /// [`VirtqueueError::Memory`].
    pub fn offer(&mut self, indexes: Vec<u16>) -> Result<u16, VirtqueueError> {
        let head = indexes
            .first()
            .copied()
            .ok_or(VirtqueueError::ChainLength(0))?;
        self.chains.insert(head, indexes);
        self.push(head)?;
        Ok(head)
    }

    /// Puts `head` into the available ring, whatever it is.
    ///
    /// # Errors
    /// [`VirtqueueError::Memory`].
    pub fn push(&mut self, head: u16) -> Result<(), VirtqueueError> {
        let slot = u64::from(self.next_avail % self.layout.size);
        let entry = self.layout.avail.unchecked_add(4 + 2 * slot);
        self.memory.store(head.to_le(), entry, Ordering::Relaxed)?;
        self.next_avail = self.next_avail.wrapping_add(1);
        self.set_avail_index(self.next_avail)
    }

    /// Writes the available index, whatever it is.
    ///
    /// # Errors
    /// [`VirtqueueError::Memory`].
    pub fn set_avail_index(&self, index: u16) -> Result<(), VirtqueueError> {
        let addr = self.layout.avail.unchecked_add(2);
        Ok(self.memory.store(index.to_le(), addr, Ordering::Release)?)
    }

    /// Whether the device wants a kick for what was made available since the last call.
    ///
    /// # Errors
    /// [`VirtqueueError::Memory`].
    pub fn needs_kick(&mut self) -> Result<bool, VirtqueueError> {
        fence(Ordering::SeqCst);
        let old = std::mem::replace(&mut self.kicked_at, self.next_avail);
        if self.event_idx {
            let size = u64::from(self.layout.size);
            let event = self.load(self.layout.used.unchecked_add(4 + 8 * size))?;
            let passed = self.next_avail.wrapping_sub(event).wrapping_sub(1);
            return Ok(passed < self.next_avail.wrapping_sub(old));
        }
        Ok(self.load(self.layout.used)? & flag(VRING_USED_F_NO_NOTIFY) == 0)
    }

    /// Takes a chain that the device has returned.
    ///
    /// # Errors
    /// [`VirtqueueError::UnknownChain`] and [`VirtqueueError::Memory`].
    pub fn pop(&mut self) -> Result<Option<Used>, VirtqueueError> {
        if !self.has_used()? {
            return Ok(None);
        }
        let slot = u64::from(self.last_used % self.layout.size);
        let mut element = [0; 8];
        let addr = self.layout.used.unchecked_add(4 + 8 * slot);
        self.memory.read_slice(&mut element, addr)?;
        self.last_used = self.last_used.wrapping_add(1);
        let [a, b, c, d, len @ ..] = element;
        let id = u32::from_le_bytes([a, b, c, d]);
        let (head, chain) = u16::try_from(id)
            .ok()
            .and_then(|head| Some((head, self.chains.remove(&head)?)))
            .ok_or(VirtqueueError::UnknownChain(id))?;
        self.free.extend(chain);
        Ok(Some(Used {
            head,
            len: u32::from_le_bytes(len),
        }))
    }

    /// Asks for an interrupt at the next returned chain. `true` if one is there already, for
    /// which no interrupt may come.
    ///
    /// # Errors
    /// [`VirtqueueError::Memory`].
    pub fn enable_interrupt(&self) -> Result<bool, VirtqueueError> {
        if self.event_idx {
            self.enable_interrupt_after(0)?;
        } else {
            self.memory
                .store(0u16, self.layout.avail, Ordering::Relaxed)?;
        }
        fence(Ordering::SeqCst);
        self.has_used()
    }

    /// With EVENT_IDX, asks for an interrupt when `count` chains and one more are returned.
    ///
    /// # Errors
    /// [`VirtqueueError::Memory`].
    pub fn enable_interrupt_after(&self, count: u16) -> Result<(), VirtqueueError> {
        let size = u64::from(self.layout.size);
        let addr = self.layout.avail.unchecked_add(4 + 2 * size);
        let event = self.last_used.wrapping_add(count);
        Ok(self.memory.store(event.to_le(), addr, Ordering::Relaxed)?)
    }

    /// Asks for no interrupts, as far as the ring can say that.
    ///
    /// # Errors
    /// [`VirtqueueError::Memory`].
    pub fn disable_interrupt(&self) -> Result<(), VirtqueueError> {
        let flags = flag(VRING_AVAIL_F_NO_INTERRUPT).to_le();
        Ok(self
            .memory
            .store(flags, self.layout.avail, Ordering::Relaxed)?)
    }

    fn has_used(&self) -> Result<bool, VirtqueueError> {
        Ok(self.load(self.layout.used.unchecked_add(2))? != self.last_used)
    }

    fn load(&self, addr: GuestAddress) -> Result<u16, VirtqueueError> {
        let word: u16 = self.memory.load(addr, Ordering::Acquire)?;
        Ok(u16::from_le(word))
    }

    /// The guest memory the queue lies in.
    pub fn memory(&self) -> &GuestMemoryMmap {
        &self.memory
    }
}
