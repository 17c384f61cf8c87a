//! A device that is served by the test itself.

use virtio_queue::{Queue, QueueT};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use crate::frontend::RingLayout;

/// A chain the device took.
#[derive(Clone, Debug)]
pub(super) struct Taken {
    pub(super) head: u16,
    pub(super) request: Vec<u8>,
    pub(super) response: Vec<(GuestAddress, u32)>,
}

#[derive(Debug)]
pub(super) struct Device {
    memory: GuestMemoryMmap,
    queue: Queue,
}

impl Device {
    pub(super) fn new(memory: &GuestMemoryMmap, layout: RingLayout, event_idx: bool) -> Self {
        let mut queue = Queue::new(layout.size).unwrap();
        queue.set_size(layout.size);
        queue.try_set_desc_table_address(layout.desc).unwrap();
        queue.try_set_avail_ring_address(layout.avail).unwrap();
        queue.try_set_used_ring_address(layout.used).unwrap();
        queue.set_event_idx(event_idx);
        queue.set_ready(true);
        assert!(queue.is_valid(memory));
        Self {
            memory: memory.clone(),
            queue,
        }
    }

    /// Takes one chain, if there is one.
    pub(super) fn take(&mut self) -> Option<Taken> {
        let chain = self.queue.pop_descriptor_chain(&self.memory)?;
        let mut taken = Taken {
            head: chain.head_index(),
            request: Vec::new(),
            response: Vec::new(),
        };
        for descriptor in chain {
            if descriptor.is_write_only() {
                taken.response.push((descriptor.addr(), descriptor.len()));
                continue;
            }
            let mut piece = vec![0; descriptor.len() as usize];
            self.memory
                .read_slice(&mut piece, descriptor.addr())
                .unwrap();
            taken.request.extend(piece);
        }
        Some(taken)
    }

    /// Answers a chain. `true` if the driver wants an interrupt.
    pub(super) fn answer(&mut self, taken: &Taken, mut bytes: &[u8]) -> bool {
        let mut written = 0;
        for (addr, len) in &taken.response {
            let (piece, rest) = bytes.split_at(bytes.len().min(*len as usize));
            self.memory.write_slice(piece, *addr).unwrap();
            written += u32::try_from(piece.len()).unwrap();
            bytes = rest;
        }
        self.queue
            .add_used(&self.memory, taken.head, written)
            .unwrap();
        self.queue.needs_notification(&self.memory).unwrap()
    }

    /// Asks for a kick at the next chain.
    pub(super) fn enable_kick(&mut self) {
        self.queue.enable_notification(&self.memory).unwrap();
    }

    /// Asks for no kicks.
    pub(super) fn disable_kick(&mut self) {
        self.queue.disable_notification(&self.memory).unwrap();
    }
}
