//! Blob resources: RESOURCE_CREATE_BLOB, RESOURCE_MAP_BLOB and RESOURCE_UNMAP_BLOB.

use std::sync::Arc;

use bitflags::bitflags;
use coherd_blob::WindowError;
use coherd_protocol::gpu::wire::{CreateBlob, MapBlob, MemEntry};
use coherd_protocol::gpu::{Features, GpuError, Response, blob_mem};

use super::charge::account;
use super::context::State;
use super::quota::{Quota, Scope};
use super::resource::{HostBlob, Kind, Resource};
use super::{Device, Refusal, Result};
use crate::coherence::registry::NewBlob;
use crate::memory::{GuestMemory, GuestRanges};
use crate::renderer::{BlobRequest, Export, RendererError};
use crate::window::HostWindowError;

bitflags! {
    /// `blob_flags`, VIRTIO 1.4 section 5.7.6.8.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct BlobFlags: u32 {
        const MAPPABLE = 1 << 0;
        const SHAREABLE = 1 << 1;
        const CROSS_DEVICE = 1 << 2;
        /// Nobody but the GPU can use a blob with none of these.
        const NEED_A_FILE = Self::MAPPABLE.bits() | Self::SHAREABLE.bits()
            | Self::CROSS_DEVICE.bits();
    }
}

impl From<HostWindowError> for Refusal {
    fn from(error: HostWindowError) -> Self {
        match error {
            HostWindowError::Stopped => Self::Stopped,
            HostWindowError::FrontEnd(_) => Self::Gpu(GpuError::FrontEnd),
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
        self.require_blobs()?;
        let id = request.resource_id.get();
        self.check_resource_id(id)?;
        let wanted = BlobRequest {
            ctx_id,
            resource_id: id,
            blob_mem: request.blob_mem.get(),
            blob_flags: request.blob_flags.get(),
            blob_id: request.blob_id.get(),
            size: request.size.get(),
        };
        let reserved = match wanted.blob_mem {
            blob_mem::GUEST => None,
            _ => self.renderer.reserved(&wanted),
        };
        if reserved.is_none() {
            self.check_room_for_resource()?;
        }
        let flags = BlobFlags::from_bits(request.blob_flags.get())
            .ok_or(GpuError::BadField("blob flags"))?;
        let size = request.size.get();
        if size == 0 || !size.is_multiple_of(self.blob_alignment) {
            return Err(GpuError::BadField("blob size").into());
        }
        if flags.contains(BlobFlags::CROSS_DEVICE)
            && !self.features.contains(Features::RESOURCE_UUID)
        {
            return Err(GpuError::BadField("blob flags without RESOURCE_UUID").into());
        }
        let resource = match request.blob_mem.get() {
            blob_mem::GUEST if request.blob_id.get() != 0 => {
                return Err(GpuError::BadField("blob id of a guest blob").into());
            }
            blob_mem::GUEST => Resource {
                backing: self.resolve_blob(request, entries, memory)?.map(Arc::new),
                ..Resource::new(Kind::GuestBlob { size })
            },
            blob_mem::HOST3D if !entries.is_empty() => {
                return Err(GpuError::BadField("entries of a host blob").into());
            }
            blob_mem::HOST3D | blob_mem::HOST3D_GUEST => {
                // The list is checked first: what the renderer makes would have to go again.
                let backing = self.resolve_blob(request, entries, memory)?;
                let blob = self.render_blob(&wanted, reserved, flags)?;
                Resource {
                    backing: backing.map(Arc::new),
                    ..Resource::new(Kind::HostBlob(blob))
                }
            }
            _ => return Err(GpuError::BadField("blob memory").into()),
        };
        let response = self.add_resource(id, resource)?;
        self.make_known(ctx_id, id, size);
        Ok(response)
    }

    /// Lets other processes of the host find a blob.
    pub(super) fn make_known(&mut self, context_id: u32, resource_id: u32, size: u64) {
        let (Some(blobs), Some(resource)) =
            (&self.config.blobs, self.resources.get_mut(&resource_id))
        else {
            return;
        };
        let record = match &resource.kind {
            Kind::HostBlob(blob) => blob.record.clone(),
            _ => None,
        };
        resource.blob = Some(blobs.enter(NewBlob {
            size,
            resource_id,
            context_id,
            record,
        }));
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
        let record = blob.record.as_ref().filter(|_| blob.mappable);
        let (record, told) = record
            .and_then(|record| Some((record, record.told()?)))
            .ok_or(GpuError::NotMappable(id))?;
        if blob.mapping.is_some() {
            return Err(GpuError::AlreadyMapped(id).into());
        }
        let charge = blob.mapping_charge();
        let account = account(&mut self.contexts, charge.owner);
        self.books.take(charge.quota, charge.amount, account)?;
        match self.window.map(request.offset.get(), record.backing()) {
            Ok(mapping) => {
                record.note_mapped();
                blob.mapping = Some(mapping);
                Ok(Response::MapInfo(told.to_wire()))
            }
            Err(error) => {
                self.give_back(charge);
                self.refuse_mapping(id, error)
            }
        }
    }

    /// Blobs are refused as in QEMU where the driver did not accept them.
    pub(super) fn require_blobs(&self) -> std::result::Result<(), GpuError> {
        if self.features.contains(Features::RESOURCE_BLOB) {
            Ok(())
        } else {
            Err(GpuError::BadField("command without RESOURCE_BLOB"))
        }
    }

    fn refuse_mapping(&mut self, id: u32, error: HostWindowError) -> Result {
        // Ranges that an earlier driver left count too.
        if let HostWindowError::Window(WindowError::Budget(_)) = error {
            return Err(self.books.refuse(Quota::Mappings, Scope::Vm).into());
        }
        if !matches!(error, HostWindowError::Stopped) {
            self.report(&format_args!("resource {id} is not mapped: {error:?}"));
        }
        Err(error.into())
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
        let unmapped = self.window.unmap(mapping);
        if matches!(unmapped, Err(HostWindowError::Stopped)) {
            return Err(Refusal::Stopped);
        }
        // The window keeps a range the VMM holds on to; the resource is rid of it.
        blob.mapping = None;
        if let Some(record) = &blob.record {
            record.note_unmapped(unmapped.is_ok());
        }
        let charge = blob.mapping_charge();
        self.give_back(charge);
        Ok(())
    }

    /// The backing of a new blob, if the request has its list already.
    fn resolve_blob(
        &mut self,
        request: &CreateBlob,
        entries: &[MemEntry],
        memory: &GuestMemory,
    ) -> std::result::Result<Option<GuestRanges>, Refusal> {
        if entries.is_empty() {
            return Ok(None);
        }
        let (id, size) = (request.resource_id.get(), request.size.get());
        self.resolve(id, entries, size, memory).map(Some)
    }

    /// Has the renderer make a blob from an object of a context, which counts for `reserved` bytes
    /// if it counts already.
    fn render_blob(
        &mut self,
        wanted: &BlobRequest,
        reserved: Option<u64>,
        flags: BlobFlags,
    ) -> std::result::Result<HostBlob, Refusal> {
        self.require(Features::VIRGL, "VIRGL")?;
        let (id, ctx_id) = (wanted.resource_id, wanted.ctx_id);
        let context = self.context(ctx_id)?;
        match context.state {
            State::Rendered => {}
            State::Lost => return Err(GpuError::ContextLost(ctx_id).into()),
            State::Inert => return Err(GpuError::Renderer.into()),
        }
        let mut blob = HostBlob {
            size: wanted.size,
            shadowed: wanted.blob_mem == blob_mem::HOST3D_GUEST,
            owner: Some(context.owner(ctx_id)),
            record: None,
            mappable: flags.contains(BlobFlags::MAPPABLE),
            mapping: None,
        };
        if reserved.is_none() {
            self.check(blob.charge())?;
        }
        let export = self
            .renderer
            .create_blob(wanted)
            .map_err(|error| self.refuse_blob(wanted, &error))?;
        if let (Some(bytes), Some(context)) = (reserved, self.contexts.get_mut(&ctx_id)) {
            context.release(bytes, &mut self.books);
        }
        let is_needed = |export: &Export| match export {
            Export::File(_) => flags.intersects(BlobFlags::NEED_A_FILE),
            Export::Record(_) => true,
        };
        blob.record = export
            .filter(is_needed)
            .and_then(|export| self.check_export(&blob, id, export));
        Ok(blob)
    }

    fn refuse_blob(&mut self, blob: &BlobRequest, error: &RendererError) -> GpuError {
        let (id, ctx_id) = (blob.resource_id, blob.ctx_id);
        self.report(&format_args!("resource {id} of context {ctx_id}: {error}"));
        match error {
            RendererError::Invalid { what, .. } => GpuError::BadField(what),
            _ => GpuError::Renderer,
        }
    }
}
