//! A context: its objects, what it may use, and where its replies go.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::blob::Blob;
use super::gpu::Gpu;
use super::job::Job;
use super::queue::Queue;
use super::reply::{Lease, ReplyBuffer};
use super::slot::Gauge;
use crate::memory::GuestRanges;
use crate::renderer::ReplyPlace;

/// See the module's description.
pub struct Context<G: Gpu> {
    /// What no resource was made from, by blob id.
    pub objects: HashMap<u64, Arc<Blob<G>>>,
    /// Blobs that it may use, by resource id.
    pub attached: HashMap<u32, Arc<Blob<G>>>,
    /// Jobs that wait for the GPU.
    pub queue: Queue<G>,
    /// Counts accesses that have begun or are going to.
    pub accesses: Gauge,
    /// Where replies go.
    pub replies: Option<ReplyBuffer>,
    /// Guest memory that replies may go to, by resource id.
    leases: HashMap<u32, Arc<Lease>>,
    /// Resources on which an access may be open.
    accessed: HashSet<u32>,
}

impl<G: Gpu> Context<G> {
    /// A context that has nothing.
    pub fn new(queue: Queue<G>, accesses: Gauge) -> Self {
        Self {
            objects: HashMap::new(),
            attached: HashMap::new(),
            queue,
            accesses,
            replies: None,
            leases: HashMap::new(),
            accessed: HashSet::new(),
        }
    }

    /// Notes that an access to a resource is going to begin.
    pub fn note_access(&mut self, resource_id: u32) {
        self.accessed.insert(resource_id);
    }

    /// Guest memory of a resource, which [`Context::revoke`] takes back.
    pub fn lease(&mut self, resource_id: u32, memory: Arc<GuestRanges>) -> Arc<Lease> {
        // Those that no reply goes to any more.
        self.leases.retain(|_, lease| Arc::strong_count(lease) > 1);
        let lease = self
            .leases
            .entry(resource_id)
            .or_insert_with(|| Arc::new(Lease::new(memory)));
        Arc::clone(lease)
    }

    /// Where replies go.
    pub fn reply_place(&self) -> Option<ReplyPlace> {
        let buffer = self.replies.as_ref()?;
        let mut leases = self.leases.iter();
        let (resource_id, _) = leases.find(|(_, lease)| Arc::ptr_eq(lease, &buffer.lease))?;
        Some(ReplyPlace {
            resource_id: *resource_id,
            offset: buffer.offset,
            size: buffer.size,
        })
    }

    /// Takes guest memory back.
    pub fn revoke(&mut self, resource_id: u32) {
        let Some(lease) = self.leases.remove(&resource_id) else {
            return;
        };
        lease.revoke();
        let is_gone = |buffer: &ReplyBuffer| Arc::ptr_eq(&buffer.lease, &lease);
        if self.replies.as_ref().is_some_and(is_gone) {
            self.replies = None;
        }
    }

    /// Takes a blob away. What is open on it ends behind what was asked for before.
    pub fn detach(&mut self, resource_id: u32) {
        self.attached.remove(&resource_id);
        if self.accessed.remove(&resource_id) {
            // There is a thread where anything is open.
            let _ = self.queue.put(Job::Abandon(resource_id));
        }
    }
}

/// Replies that are on their way do not reach the guest's memory any more.
impl<G: Gpu> Drop for Context<G> {
    fn drop(&mut self) {
        self.leases.values().for_each(|lease| lease.revoke());
    }
}
