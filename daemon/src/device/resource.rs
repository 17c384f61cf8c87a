//! Resources: what they are, and the commands that any of them takes.

use coherd_blob::{Backing, MapInfo, Mapping};
use coherd_protocol::gpu::wire::MemEntry;
use coherd_protocol::gpu::{GpuError, Response};

use super::context::Context;
use super::two_d::Image;
use super::{Device, Refusal, Result};
use crate::memory::{GuestMemory, GuestRanges};

/// What a resource is made of.
#[derive(Debug)]
pub enum Kind {
    /// RESOURCE_CREATE_2D: pixels in this process.
    TwoD(Image),
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
    /// The file, if the guest may map it.
    pub mappable: Option<(Backing, MapInfo)>,
    /// Where it is mapped.
    pub mapping: Option<Mapping>,
}

/// A resource.
#[derive(Debug)]
pub struct Resource {
    /// What it is made of.
    pub kind: Kind,
    /// Guest memory it was given.
    pub backing: Option<GuestRanges>,
    /// Contexts that may use it.
    pub contexts: Vec<u32>,
    /// UUID, once one was assigned.
    pub uuid: Option<[u8; 16]>,
}

impl Resource {
    /// A resource without guest memory.
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            backing: None,
            contexts: Vec::new(),
            uuid: None,
        }
    }

    /// Whether the renderer knows it.
    pub fn is_rendered(&self) -> bool {
        matches!(self.kind, Kind::HostBlob(_))
    }
}

impl Device {
    /// RESOURCE_UNREF. The window mapping goes first: the guest uses its range again as soon as
    /// it has the answer.
    pub(super) fn resource_unref(&mut self, id: u32) -> Result {
        self.unmap(id)?;
        self.destroy_resource(id);
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
        if resource.is_rendered() {
            return Err(GpuError::WrongResourceKind(id).into());
        }
        if resource.backing.is_some() {
            return Err(GpuError::BackingAttached(id).into());
        }
        let ranges = GuestRanges::resolve(memory, entries).ok_or(GpuError::BadBacking(id))?;
        resource.backing = Some(ranges);
        Ok(Response::OkNoData)
    }

    /// RESOURCE_DETACH_BACKING
    pub(super) fn resource_detach_backing(&mut self, id: u32) -> Result {
        let resource = self.resource_mut(id)?;
        resource.backing.take().ok_or(GpuError::NoBacking(id))?;
        Ok(Response::OkNoData)
    }

    /// RESOURCE_ASSIGN_UUID: a random UUID (version 4), the same one each time.
    pub(super) fn resource_assign_uuid(&mut self, id: u32) -> Result {
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
    pub(super) fn check_new_resource(&self, id: u32) -> std::result::Result<(), Refusal> {
        if id == 0 || self.resources.contains_key(&id) {
            return Err(GpuError::ResourceIdInUse(id).into());
        }
        if self.resources.len() >= super::MAX_RESOURCES {
            return Err(GpuError::OutOf("resources").into());
        }
        Ok(())
    }

    /// Drops a resource that is not mapped.
    fn destroy_resource(&mut self, id: u32) {
        let Some(resource) = self.resources.remove(&id) else {
            return;
        };
        self.scanouts
            .iter_mut()
            .for_each(|scanout| scanout.forget(id));
        if resource.is_rendered() {
            for ctx_id in &resource.contexts {
                if self.contexts.get(ctx_id) == Some(&Context::Rendered) {
                    self.renderer.detach(*ctx_id, id);
                }
            }
            self.renderer.destroy_resource(id);
        }
        if let Kind::TwoD(image) = &resource.kind {
            self.image_bytes = self.image_bytes.saturating_sub(image.len());
        }
    }

    /// Drops every resource without a word to the VMM: the reset of the window comes after.
    pub(super) fn destroy_all_resources(&mut self) {
        let ids: Vec<u32> = self.resources.keys().copied().collect();
        ids.into_iter().for_each(|id| self.destroy_resource(id));
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
