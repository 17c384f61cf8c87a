//! A renderer without a GPU: blobs are files in memory, and the test decides when work is done.
//!
//! [`MemfdRenderer`] lives in the daemon's device thread; [`Host`] is the test's handle on it.
//! The guest chooses the file behind a blob by its `blob_id` ([`Recipe`]) and what "the GPU" does
//! to it by the words it submits ([`Operation`]).

mod host;
mod operation;
mod recipe;
mod texture;

use std::os::fd::BorrowedFd;

use coherd::coherence::BlobRecord;
use coherd::device::image::Direction;
use coherd::memory::GuestRanges;
use coherd::renderer::{BlobRequest, Capset, Export, ExportedFile, Renderer, RendererError, Scope};
use coherd_blob::backing::ExportKind;
use coherd_protocol::gpu::header::{Fence, Timeline};
use coherd_protocol::gpu::wire::{ResourceCreate3d, Transfer3d};

pub use host::Host;
pub use operation::Operation;
pub use recipe::{FileKind, Recipe};
use texture::Texture;

/// The one capset, that of Venus unless a test wants another.
pub const CAPSET: u32 = 4;

/// Contents of the capset.
pub const CAPSET_DATA: [u8; 160] = [0x5a; 160];

/// The ring on which no fence can be created.
pub const BROKEN_RING: u8 = 63;

/// The ring on which no fence can be created while another is pending.
pub const NARROW_RING: u8 = 61;

/// The ring whose fences are signalled while they are created.
pub const INSTANT_RING: u8 = 62;

/// See the module's description.
#[derive(Debug)]
pub struct MemfdRenderer {
    host: Host,
    capsets: [Capset; 1],
}

impl MemfdRenderer {
    fn new(host: Host, capset_id: u32) -> Self {
        Self {
            host,
            capsets: [Capset {
                id: capset_id,
                version: 1,
                data: CAPSET_DATA.to_vec(),
            }],
        }
    }
}

impl Renderer for MemfdRenderer {
    fn capsets(&self) -> &[Capset] {
        &self.capsets
    }

    fn create_context(&mut self, ctx_id: u32, _: u32, _: &str) -> Result<(), RendererError> {
        let created = self.host.change(|state| state.contexts.insert(ctx_id));
        self.host
            .expect(created, &format_args!("context {ctx_id} is created twice"));
        Ok(())
    }

    fn destroy_context(&mut self, ctx_id: u32) {
        let destroyed = self.host.change(|state| {
            state.attached.retain(|(ctx, _)| *ctx != ctx_id);
            state.contexts.remove(&ctx_id)
        });
        self.host.forget_loss(ctx_id);
        self.host.expect(
            destroyed,
            &format_args!("context {ctx_id} to destroy is unknown"),
        );
    }

    fn create_blob(&mut self, blob: &BlobRequest) -> Result<Option<Export>, RendererError> {
        let recipe = Recipe::from_blob_id(blob.blob_id)
            .ok_or_else(|| RendererError::Failed(format!("no object {:#x}", blob.blob_id)))?;
        let (memory, export) = recipe
            .make(blob.size)
            .map_err(|errno| RendererError::Failed(errno.to_string()))?;
        let lent = self.host.change(|state| {
            state.blobs.insert(blob.resource_id, memory);
            state.lent.take()
        });
        let Some(fd) = lent else {
            return Ok(export);
        };
        Ok(Some(Export::File(ExportedFile {
            fd,
            kind: ExportKind::DmaBuf,
            map_info: recipe.map_info,
        })))
    }

    fn create_3d(&mut self, request: &ResourceCreate3d) -> Result<u64, RendererError> {
        let texture = Texture::new(request)?;
        let size = texture.size();
        let id = request.resource_id.get();
        self.host.change(|state| state.textures.insert(id, texture));
        Ok(size)
    }

    fn transfer(
        &mut self,
        ctx_id: u32,
        request: &Transfer3d,
        backing: &GuestRanges,
        direction: Direction,
    ) -> Result<(), RendererError> {
        let id = request.resource_id.get();
        let attached = self
            .host
            .change(|state| state.attached.contains(&(ctx_id, id)));
        self.host.expect(
            attached,
            &format_args!("{id} to transfer is not attached to {ctx_id}"),
        );
        self.host
            .change(|state| {
                let texture = state.textures.get_mut(&id)?;
                texture.transfer(request, backing, direction)
            })
            .ok_or_else(|| RendererError::Failed("no such texels".to_owned()))
    }

    fn destroy_resource(&mut self, resource_id: u32) {
        let destroyed = self.host.change(|state| {
            let blob = state.blobs.remove(&resource_id);
            let texture = state.textures.remove(&resource_id);
            blob.is_some() || texture.is_some()
        });
        self.host.expect(
            destroyed,
            &format_args!("resource {resource_id} to destroy is unknown"),
        );
    }

    fn attach(
        &mut self,
        ctx_id: u32,
        resource_id: u32,
        _: Option<&BlobRecord>,
    ) -> Result<(), RendererError> {
        let known = self.host.change(|state| {
            state.attached.insert((ctx_id, resource_id));
            state.contexts.contains(&ctx_id) && state.has(resource_id)
        });
        self.host.expect(
            known,
            &format_args!("{ctx_id} or {resource_id} to attach is unknown"),
        );
        Ok(())
    }

    fn detach(&mut self, ctx_id: u32, resource_id: u32) {
        let attached = self
            .host
            .change(|state| state.attached.remove(&(ctx_id, resource_id)));
        self.host.expect(
            attached,
            &format_args!("{resource_id} to detach is not attached to {ctx_id}"),
        );
    }

    fn submit(
        &mut self,
        ctx_id: u32,
        commands: &mut [u8],
        _: &mut dyn Scope,
    ) -> Result<(), RendererError> {
        let known = self.host.change(|state| state.contexts.contains(&ctx_id));
        self.host.expect(
            known,
            &format_args!("context {ctx_id} to submit to is unknown"),
        );
        let operations = Operation::decode_all(commands)
            .ok_or_else(|| RendererError::Failed("malformed operation".to_owned()))?;
        operations
            .into_iter()
            .try_for_each(|operation| self.host.execute(operation))
    }

    fn create_fence(
        &mut self,
        ctx_id: u32,
        ring_idx: u8,
        fence_id: u64,
    ) -> Result<(), RendererError> {
        let fence = Fence {
            id: fence_id,
            timeline: Timeline::Ring { ctx_id, ring_idx },
        };
        let is_broken = match ring_idx {
            BROKEN_RING => true,
            NARROW_RING => {
                let mut fences = self.host.fences().into_iter();
                fences.any(|other| other.timeline == fence.timeline)
            }
            _ => false,
        };
        if is_broken {
            return Err(RendererError::Unsupported("this ring"));
        }
        self.host.ask(fence);
        if ring_idx == INSTANT_RING {
            self.host.signal(fence);
        }
        Ok(())
    }

    fn losses(&self) -> Vec<BorrowedFd<'_>> {
        vec![self.host.losses()]
    }

    fn lost_contexts(&mut self) -> Vec<u32> {
        self.host.lost()
    }
}
