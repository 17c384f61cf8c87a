//! Resources: what they are, and the commands that any of them takes.

use std::collections::HashSet;
use std::sync::Arc;

use coherd_blob::Mapping;
use coherd_protocol::gpu::wire::MemEntry;
use coherd_protocol::gpu::{Features, GpuError, Response};

use super::charge::Charge;
use super::context::Owner;
use super::image::Image;
use super::quota::Quota;
use super::{Device, Refusal, Result};
use crate::coherence::BlobRecord;
use crate::heap;
use crate::memory::{GuestMemory, GuestRanges};

/// Resources whose table may stay.
const FEW: usize = 4096;
/// Bytes of images whose memory may stay in the heap.
const SMALL: u64 = 1 << 20;

/// What a resource is made of.
#[derive(Debug)]
pub enum Kind {
    /// RESOURCE_CREATE_2D: pixels in this process.
    TwoD(Image),
    /// RESOURCE_CREATE_3D: the renderer has it.
    ThreeD {
        /// Bytes the renderer spends on it.
        size: u64,
    },
    /// A blob in guest memory alone.
    GuestBlob {
        /// Bytes.
        size: u64,
    },
    /// A blob that the renderer made.
    HostBlob(HostBlob),
}

/// A blob that the renderer made.
#[derive(Debug)]
pub struct HostBlob {
    /// Bytes.
    pub size: u64,
    /// Whether guest memory shadows it (HOST3D_GUEST).
    pub shadowed: bool,
    /// Whose quotas it counts for.
    pub owner: Option<Owner>,
    /// Its file, if it has one that can be mapped.
    pub record: Option<Arc<BlobRecord>>,
    /// Whether the guest asked to map it.
    pub mappable: bool,
    /// Where it is mapped.
    pub mapping: Option<Mapping>,
}

/// A resource.
#[derive(Debug)]
pub struct Resource {
    /// What it is made of.
    pub kind: Kind,
    /// Guest memory it was given.
    pub backing: Option<Arc<GuestRanges>>,
    /// Contexts that may use it.
    pub contexts: HashSet<u32>,
    /// UUID, once one was assigned.
    pub uuid: Option<[u8; 16]>,
    /// Its id among the host's blobs, if it is one.
    pub blob: Option<u64>,
}

impl Resource {
    /// A resource without guest memory.
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            backing: None,
            contexts: HashSet::new(),
            uuid: None,
            blob: None,
        }
    }

    /// Whether the renderer knows it.
    pub fn is_rendered(&self) -> bool {
        matches!(self.kind, Kind::HostBlob(_) | Kind::ThreeD { .. })
    }

    /// Its file, if it has one.
    pub fn record(&self) -> Option<&BlobRecord> {
        match &self.kind {
            Kind::HostBlob(blob) => blob.record.as_deref(),
            _ => None,
        }
    }

    /// Bytes of guest memory that it needs as a backing; `None` if it takes none.
    fn wanted_backing(&self) -> Option<u64> {
        match &self.kind {
            // Transfers find out.
            Kind::TwoD(_) | Kind::ThreeD { .. } => Some(0),
            Kind::GuestBlob { size } => Some(*size),
            Kind::HostBlob(blob) => blob.shadowed.then_some(blob.size),
        }
    }
}

impl Device {
    /// RESOURCE_UNREF. The window mapping goes first: the guest uses its range again as soon as
    /// it has the answer.
    pub(super) fn resource_unref(&mut self, id: u32) -> Result {
        self.unmap(id)?;
        self.destroy_resource(id);
        self.shrink();
        Ok(Response::OkNoData)
    }

    /// RESOURCE_ATTACH_BACKING
    pub(super) fn resource_attach_backing(
        &mut self,
        id: u32,
        entries: &[MemEntry],
        memory: &GuestMemory,
    ) -> Result {
        let resource = self.resource_mut(id)?;
        let size = resource
            .wanted_backing()
            .ok_or(GpuError::WrongResourceKind(id))?;
        if resource.backing.is_some() {
            return Err(GpuError::BackingAttached(id).into());
        }
        let ranges = self.resolve(id, entries, size, memory)?;
        self.take(Charge::backing(&ranges))?;
        self.resource_mut(id)?.backing = Some(Arc::new(ranges));
        Ok(Response::OkNoData)
    }

    /// RESOURCE_DETACH_BACKING. The guest uses the memory again as soon as it has the answer.
    pub(super) fn resource_detach_backing(&mut self, id: u32) -> Result {
        let resource = self.resource_mut(id)?;
        let ranges = resource.backing.take().ok_or(GpuError::NoBacking(id))?;
        for ctx_id in resource.contexts.clone() {
            self.revoke(ctx_id, id);
        }
        self.give_back(Charge::backing(&ranges));
        Ok(Response::OkNoData)
    }

    /// RESOURCE_ASSIGN_UUID: a random UUID (version 4), the same one each time.
    pub(super) fn resource_assign_uuid(&mut self, id: u32) -> Result {
        self.require(Features::RESOURCE_UUID, "RESOURCE_UUID")?;
        let resource = self.resource_mut(id)?;
        let uuid = match resource.uuid {
            Some(uuid) => uuid,
            None => random_uuid().ok_or(GpuError::OutOf("random numbers"))?,
        };
        resource.uuid = Some(uuid);
        Ok(Response::Uuid(uuid))
    }

    pub(super) fn resource_mut(&mut self, id: u32) -> std::result::Result<&mut Resource, Refusal> {
        self.resources
            .get_mut(&id)
            .ok_or(GpuError::UnknownResource(id).into())
    }

    /// Checks that a new resource may have this id and that there is room for one more.
    pub(super) fn check_new_resource(&mut self, id: u32) -> std::result::Result<(), Refusal> {
        self.check_resource_id(id)?;
        self.check_room_for_resource()
    }

    /// Checks that a new resource may have this id.
    pub(super) fn check_resource_id(&self, id: u32) -> std::result::Result<(), Refusal> {
        if id == 0 || self.resources.contains_key(&id) {
            return Err(GpuError::ResourceIdInUse(id).into());
        }
        Ok(())
    }

    /// Checks that there is room for one more resource.
    pub(super) fn check_room_for_resource(&mut self) -> std::result::Result<(), Refusal> {
        Ok(self.check(Charge::vm(Quota::Resources, 1))?)
    }

    /// Enters a resource whose id [`Device::check_new_resource`] has passed.
    pub(super) fn add_resource(&mut self, id: u32, resource: Resource) -> Result {
        self.take_all(&resource)?;
        self.resources.insert(id, resource);
        Ok(Response::OkNoData)
    }

    /// Resolves the backing list of a resource, which has to be at least `size` bytes long and
    /// within the quota.
    pub(super) fn resolve(
        &mut self,
        id: u32,
        entries: &[MemEntry],
        size: u64,
        memory: &GuestMemory,
    ) -> std::result::Result<GuestRanges, Refusal> {
        let count = u64::try_from(entries.len()).unwrap_or(u64::MAX);
        self.check(Charge::vm(Quota::BackingEntries, count))?;
        GuestRanges::resolve(memory, entries)
            .filter(|ranges| ranges.len() >= size)
            .ok_or(GpuError::BadBacking(id).into())
    }

    /// Drops a resource that is not mapped.
    fn destroy_resource(&mut self, id: u32) {
        let Some(resource) = self.resources.get(&id) else {
            return;
        };
        for ctx_id in resource.contexts.clone() {
            self.detach(ctx_id, id);
        }
        let Some(resource) = self.resources.remove(&id) else {
            return;
        };
        self.scanouts
            .iter_mut()
            .for_each(|scanout| scanout.forget(id));
        self.cursors.iter_mut().for_each(|cursor| cursor.forget(id));
        if resource.is_rendered() {
            self.renderer.destroy_resource(id);
        }
        if let Kind::TwoD(image) = &resource.kind {
            self.freed = self.freed.saturating_add(image.size());
        }
        self.give_back_all(&resource);
        if let (Some(blobs), Some(blob)) = (&self.config.blobs, resource.blob) {
            blobs.remove(blob);
        }
    }

    /// Drops every resource without a word to the VMM: the reset of the window comes after.
    pub(super) fn destroy_all_resources(&mut self) {
        let vmm_unmaps = self.window.unmaps_on_reset();
        for resource in self.resources.values() {
            if let Kind::HostBlob(HostBlob {
                record: Some(record),
                mapping: Some(_),
                ..
            }) = &resource.kind
            {
                record.note_unmapped(vmm_unmaps);
            }
        }
        let ids: Vec<u32> = self.resources.keys().copied().collect();
        ids.into_iter().for_each(|id| self.destroy_resource(id));
        self.shrink();
    }

    /// Gives the memory of many or large resources back once the last is gone.
    fn shrink(&mut self) {
        let was_large = self.resources.capacity() > FEW || self.freed > SMALL;
        if self.resources.is_empty() && was_large {
            self.freed = 0;
            self.resources.shrink_to_fit();
            for context in self.contexts.values_mut() {
                context.resources.shrink_to_fit();
            }
            heap::release();
        }
    }
}

fn random_uuid() -> Option<[u8; 16]> {
    let mut uuid = [0; 16];
    let filled = rustix::rand::getrandom(&mut uuid, rustix::rand::GetRandomFlags::empty()).ok()?;
    // RFC 9562 section 5.4.
    uuid[6] = uuid[6] & 0x0f | 0x40;
    uuid[8] = uuid[8] & 0x3f | 0x80;
    (filled == uuid.len()).then_some(uuid)
}
