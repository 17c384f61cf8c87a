//! Blob resources: RESOURCE_CREATE_BLOB, RESOURCE_MAP_BLOB and RESOURCE_UNMAP_BLOB.

use bitflags::bitflags;
use coherd_blob::{Backing, MapInfo, WindowError};
use coherd_protocol::gpu::wire::{CreateBlob, MapBlob, MemEntry};
use coherd_protocol::gpu::{Features, GpuError, Response};

use super::context::Context;
use super::resource::{HostBlob, Kind, Resource};
use super::{Device, Refusal, Result};
use crate::memory::{GuestMemory, GuestRanges};
use crate::renderer::{BlobRequest, Export};
use crate::window::HostWindowError;

/// VIRTIO_GPU_BLOB_MEM_GUEST
const MEM_GUEST: u32 = 1;
/// VIRTIO_GPU_BLOB_MEM_HOST3D
const MEM_HOST3D: u32 = 2;
/// VIRTIO_GPU_BLOB_MEM_HOST3D_GUEST
const MEM_HOST3D_GUEST: u32 = 3;

bitflags! {
    /// `blob_flags`, VIRTIO 1.4 section 5.7.6.8.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct BlobFlags: u32 {
        const MAPPABLE = 1 << 0;
        const SHAREABLE = 1 << 1;
        const CROSS_DEVICE = 1 << 2;
    }
}

impl From<HostWindowError> for Refusal {
    fn from(error: HostWindowError) -> Self {
        match error {
            HostWindowError::Stopped => Self::Stopped,
            HostWindowError::FrontEnd(_) => Self::Gpu(GpuError::FrontEnd),
            HostWindowError::Window(WindowError::Budget(_)) => {
                Self::Gpu(GpuError::OutOf("window mappings"))
            }
            HostWindowError::Window(_) => Self::Gpu(GpuError::BadField("window offset")),
        }
    }
}

impl Device {
    /// RESOURCE_CREATE_BLOB
    pub(super) fn resource_create_blob(
        &mut self,
        ctx_id: u32,
        request: &CreateBlob,
        entries: &[MemEntry],
        memory: &GuestMemory,
    ) -> Result {
        if !self.features.contains(Features::RESOURCE_BLOB) {
            return Err(GpuError::BadField("command without RESOURCE_BLOB").into());
        }
        let id = request.resource_id.get();
        self.check_new_resource(id)?;
        let flags = BlobFlags::from_bits(request.blob_flags.get())
            .ok_or(GpuError::BadField("blob flags"))?;
        let size = request.size.get();
        if size == 0 || !size.is_multiple_of(self.blob_alignment) {
            return Err(GpuError::BadField("blob size").into());
        }
        let resource = match request.blob_mem.get() {
            MEM_GUEST => guest_blob(request, entries, memory)?,
            MEM_HOST3D if entries.is_empty() => {
                self.require(Features::VIRGL, "VIRGL")?;
                self.host_blob(ctx_id, request, flags)?
            }
            MEM_HOST3D => return Err(GpuError::BadField("entries of a host blob").into()),
            MEM_HOST3D_GUEST => return Err(GpuError::Renderer.into()),
            _ => return Err(GpuError::BadField("blob memory").into()),
        };
        self.resources.insert(id, resource);
        Ok(Response::OkNoData)
    }

    /// RESOURCE_MAP_BLOB. The answer goes out once the mapping is there.
    pub(super) fn resource_map_blob(&mut self, request: &MapBlob) -> Result {
        self.require(Features::RESOURCE_BLOB, "RESOURCE_BLOB")?;
        let id = request.resource_id.get();
        let resource = self
            .resources
            .get_mut(&id)
            .ok_or(GpuError::UnknownResource(id))?;
        let Kind::HostBlob(blob) = &mut resource.kind else {
            return Err(GpuError::NotMappable(id).into());
        };
        let (backing, map_info) = blob.mappable.as_ref().ok_or(GpuError::NotMappable(id))?;
        if blob.mapping.is_some() {
            return Err(GpuError::AlreadyMapped(id).into());
        }
        let map_info = *map_info;
        match self.window.map(request.offset.get(), backing) {
            Ok(mapping) => {
                blob.mapping = Some(mapping);
                Ok(Response::MapInfo(map_info.to_wire()))
            }
            Err(error) => {
                if !matches!(error, HostWindowError::Stopped) {
                    self.report(&format_args!("resource {id} is not mapped: {error:?}"));
                }
                Err(error.into())
            }
        }
    }

    /// RESOURCE_UNMAP_BLOB. Linux also sends it after a map that failed.
    pub(super) fn resource_unmap_blob(&mut self, id: u32) -> Result {
        self.require(Features::RESOURCE_BLOB, "RESOURCE_BLOB")?;
        self.unmap(id)?;
        Ok(Response::OkNoData)
    }

    /// Removes the mapping of a resource, if it has one.
    pub(super) fn unmap(&mut self, id: u32) -> std::result::Result<(), Refusal> {
        let resource = self
            .resources
            .get_mut(&id)
            .ok_or(GpuError::UnknownResource(id))?;
        let Kind::HostBlob(blob) = &mut resource.kind else {
            return Ok(());
        };
        let Some(mapping) = blob.mapping else {
            return Ok(());
        };
        match self.window.unmap(mapping) {
            Err(HostWindowError::Stopped) => return Err(Refusal::Stopped),
            // The window keeps a range the VMM holds on to; the resource is rid of it.
            Ok(()) | Err(_) => blob.mapping = None,
        }
        Ok(())
    }

    fn host_blob(
        &mut self,
        ctx_id: u32,
        request: &CreateBlob,
        flags: BlobFlags,
    ) -> std::result::Result<Resource, Refusal> {
        match self.context(ctx_id)? {
            Context::Rendered => {}
            Context::Lost => return Err(GpuError::ContextLost(ctx_id).into()),
            Context::Inert => return Err(GpuError::Renderer.into()),
        }
        let id = request.resource_id.get();
        let blob = BlobRequest {
            ctx_id,
            resource_id: id,
            blob_mem: request.blob_mem.get(),
            blob_flags: request.blob_flags.get(),
            blob_id: request.blob_id.get(),
            size: request.size.get(),
        };
        let export = self.renderer.create_blob(&blob).map_err(|error| {
            self.report(&format_args!("resource {id} of context {ctx_id}: {error}"));
            GpuError::Renderer
        })?;
        let mappable = export
            .filter(|_| flags.contains(BlobFlags::MAPPABLE))
            .and_then(|export| self.check_export(id, export, blob.size));
        Ok(Resource::new(Kind::HostBlob(HostBlob {
            mappable,
            mapping: None,
        })))
    }

    /// What the guest may map of an export, or `None`: the blob is still good for the GPU.
    fn check_export(&mut self, id: u32, export: Export, size: u64) -> Option<(Backing, MapInfo)> {
        let Some(map_info) = MapInfo::from_renderer(export.map_info) else {
            self.report(&format_args!(
                "resource {id} has no memory type and cannot be mapped"
            ));
            return None;
        };
        match Backing::new(export.fd, export.kind, size) {
            Ok(backing) => Some((backing, map_info)),
            Err(error) => {
                self.report(&format_args!("resource {id} cannot be mapped: {error}"));
                None
            }
        }
    }
}

fn guest_blob(
    request: &CreateBlob,
    entries: &[MemEntry],
    memory: &GuestMemory,
) -> std::result::Result<Resource, Refusal> {
    let id = request.resource_id.get();
    if request.blob_id.get() != 0 {
        return Err(GpuError::BadField("blob id of a guest blob").into());
    }
    let size = request.size.get();
    let mut resource = Resource::new(Kind::GuestBlob { size });
    if !entries.is_empty() {
        let ranges = GuestRanges::resolve(memory, entries).ok_or(GpuError::BadBacking(id))?;
        if ranges.len() < size {
            return Err(GpuError::BadBacking(id).into());
        }
        resource.backing = Some(ranges);
    }
    Ok(resource)
}
