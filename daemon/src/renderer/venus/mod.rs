//! Venus: Vulkan for unmodified guests, through virglrenderer's render server.
//!
//! rutabaga is the way to virglrenderer. What it would do with several components, with resources
//! that are not blobs and with fences of the device as a whole is not used: the device does that.

mod foreign;
mod hiding;
mod host;
mod processes;
mod server;
mod watch;

use std::os::fd::{AsFd, BorrowedFd, IntoRawFd, OwnedFd};
use std::time::Instant;

use coherd_blob::MemoryProperties;
use coherd_blob::backing::ExportKind;
use coherd_protocol::gpu::blob_mem;
use coherd_protocol::gpu::capset::{CAPSET_VENUS, VenusCapset};
use coherd_protocol::gpu::header::{Fence, Timeline};
use magma_gpu::util::{
    MAGMA_GPU_HANDLE_TYPE_MEM_DMABUF, MAGMA_GPU_HANDLE_TYPE_MEM_OPAQUE_FD,
    MAGMA_GPU_HANDLE_TYPE_MEM_SHM,
};
use rutabaga_gfx::{
    RUTABAGA_FLAG_FENCE, RUTABAGA_FLAG_INFO_RING_IDX, ResourceCreateBlob, Rutabaga,
    RutabagaBuilder, RutabagaDescriptor, RutabagaError, RutabagaFence, RutabagaFromRawDescriptor,
    RutabagaHandle, RutabagaHandler, RutabagaIntoRawDescriptor,
};

use self::foreign::{ForeignError, ForeignResources};
pub use self::hiding::layer_beside_program;
pub use self::host::{Host, HostError, server_program};
use self::processes::WorkerProcesses;
use self::server::RenderServer;
use self::watch::WorkerWatch;
use super::{BlobRequest, Capset, Export, ExportedFile, FenceSink, Renderer, RendererError, Scope};
use crate::coherence::BlobRecord;

impl From<RutabagaError> for RendererError {
    fn from(error: RutabagaError) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<ForeignError> for RendererError {
    fn from(error: ForeignError) -> Self {
        Self::Failed(error.to_string())
    }
}

/// The renderer.
pub struct Venus {
    foreign: ForeignResources,
    rutabaga: Rutabaga,
    capsets: Vec<Capset>,
    server: RenderServer,
    workers: WorkerWatch,
    processes: WorkerProcesses,
    /// The server reads its environment's files with each context.
    host: Host,
}

impl Venus {
    fn start(host: Host, fences: FenceSink) -> Result<Self, RendererError> {
        let (server, socket) = RenderServer::start(&host)
            .map_err(|error| RendererError::Failed(format!("cannot start {error}")))?;
        let workers = WorkerWatch::new(server.id())
            .map_err(|errno| RendererError::Failed(format!("cannot watch workers: {errno}")))?;
        let processes = WorkerProcesses::new(server.id())
            .map_err(|errno| RendererError::Failed(format!("cannot watch workers: {errno}")))?;
        let on_fence = RutabagaHandler::new(move |fence: RutabagaFence| {
            let timeline = Timeline::Ring {
                ctx_id: fence.ctx_id,
                ring_idx: fence.ring_idx,
            };
            fences.signal(Fence {
                id: fence.fence_id,
                timeline,
            });
        });
        let rutabaga = RutabagaBuilder::new(1 << CAPSET_VENUS, on_fence)
            .set_use_render_server(true)
            .set_server_descriptor(Some(descriptor(socket)))
            .build()?;
        let capset = venus_capset(&rutabaga)?;
        Ok(Self {
            foreign: ForeignResources::new(&rutabaga),
            rutabaga,
            capsets: vec![capset],
            server,
            workers,
            processes,
            host,
        })
    }
}

impl Renderer for Venus {
    fn capsets(&self) -> &[Capset] {
        &self.capsets
    }

    fn memory_types(&self) -> Option<&[MemoryProperties]> {
        Some(self.host.memory_types())
    }

    fn create_context(
        &mut self,
        ctx_id: u32,
        capset_id: u32,
        name: &str,
    ) -> Result<(), RendererError> {
        if !self.server.is_alive() {
            return Err(RendererError::Failed("the render server is dead".into()));
        }
        let (rutabaga, workers) = (&mut self.rutabaga, &mut self.workers);
        let create = || rutabaga.create_context(ctx_id, capset_id, Some(name));
        let created = self
            .processes
            .create(ctx_id, || workers.create(ctx_id, create));
        Ok(created?)
    }

    fn destroy_context(&mut self, ctx_id: u32) {
        let _ = self.rutabaga.destroy_context(ctx_id);
        self.workers.forget(ctx_id);
        self.processes.forget(ctx_id);
    }

    fn abort_context(&mut self, ctx_id: u32) {
        self.processes.kill(ctx_id);
        self.destroy_context(ctx_id);
    }

    fn create_blob(&mut self, blob: &BlobRequest) -> Result<Option<Export>, RendererError> {
        // Venus has no use for guest pages behind a blob, and virglrenderer would need them.
        if blob.blob_mem != blob_mem::HOST3D {
            return Err(RendererError::Unsupported("a blob with guest memory"));
        }
        let create = ResourceCreateBlob {
            blob_mem: blob.blob_mem,
            blob_flags: blob.blob_flags,
            blob_id: blob.blob_id,
            size: blob.size,
        };
        self.rutabaga
            .resource_create_blob(blob.ctx_id, blob.resource_id, create, None, None)?;
        // rutabaga gives away the only fd of a blob that is not shareable: this is the one time.
        let Ok(RutabagaHandle::MagmaGpuHandle(handle)) =
            self.rutabaga.export_blob(blob.resource_id)
        else {
            return Ok(None);
        };
        let kind = match handle.handle_type {
            MAGMA_GPU_HANDLE_TYPE_MEM_DMABUF => ExportKind::DmaBuf,
            MAGMA_GPU_HANDLE_TYPE_MEM_OPAQUE_FD => ExportKind::Opaque,
            MAGMA_GPU_HANDLE_TYPE_MEM_SHM => ExportKind::Shm,
            _ => return Ok(None),
        };
        let map_info = self.rutabaga.map_info(blob.resource_id).unwrap_or(0);
        Ok(Some(Export::File(ExportedFile {
            fd: owned_fd(handle.os_handle),
            kind,
            map_info,
        })))
    }

    fn import(&mut self, resource_id: u32, blob: &BlobRecord) -> Result<(), RendererError> {
        let backing = blob.backing();
        // Vulkan imports a file from its start. A CPU driver takes shared memory for a dma-buf.
        if backing.data_offset() != 0 {
            return Err(RendererError::Unsupported(
                "a blob that is a part of its file",
            ));
        }
        let file = backing
            .as_fd()
            .try_clone_to_owned()
            .map_err(|error| RendererError::Failed(format!("the blob's file: {error}")))?;
        Ok(self.foreign.import(resource_id, file, backing.size())?)
    }

    fn destroy_resource(&mut self, resource_id: u32) {
        if !self.foreign.forget(resource_id) {
            let _ = self.rutabaga.unref_resource(resource_id);
        }
    }

    fn attach(
        &mut self,
        ctx_id: u32,
        resource_id: u32,
        _: Option<&BlobRecord>,
    ) -> Result<(), RendererError> {
        if self.foreign.contains(resource_id) {
            self.foreign.attach(ctx_id, resource_id);
        } else {
            let _ = self.rutabaga.context_attach_resource(ctx_id, resource_id);
        }
        Ok(())
    }

    fn detach(&mut self, ctx_id: u32, resource_id: u32) {
        if self.foreign.contains(resource_id) {
            self.foreign.detach(ctx_id, resource_id);
        } else {
            let _ = self.rutabaga.context_detach_resource(ctx_id, resource_id);
        }
    }

    fn submit(
        &mut self,
        ctx_id: u32,
        commands: &mut [u8],
        _: &mut dyn Scope,
    ) -> Result<(), RendererError> {
        Ok(self.rutabaga.submit_command(ctx_id, commands, &[])?)
    }

    fn create_fence(
        &mut self,
        ctx_id: u32,
        ring_idx: u8,
        fence_id: u64,
    ) -> Result<(), RendererError> {
        let flags = RUTABAGA_FLAG_FENCE | RUTABAGA_FLAG_INFO_RING_IDX;
        Ok(self.rutabaga.create_fence(RutabagaFence {
            flags,
            fence_id,
            ctx_id,
            ring_idx,
        })?)
    }

    fn deaths(&self) -> Vec<BorrowedFd<'_>> {
        vec![self.server.death()]
    }

    fn obituary(&mut self, _: usize) -> String {
        self.server.obituary()
    }

    fn losses(&self) -> Vec<BorrowedFd<'_>> {
        vec![self.workers.fd(), self.processes.fd()]
    }

    fn lost_contexts(&mut self) -> Vec<u32> {
        self.processes.look(Instant::now());
        self.workers.dead()
    }
}

/// The Venus capset. A virglrenderer that failed to start leaves rutabaga without one, and one
/// without its render server fills it with zeros, on which the guest's driver aborts.
fn venus_capset(rutabaga: &Rutabaga) -> Result<Capset, RendererError> {
    for index in 0..rutabaga.get_num_capsets() {
        let (id, version, _size) = rutabaga.get_capset_info(index)?;
        if id != CAPSET_VENUS {
            continue;
        }
        let data = rutabaga.get_capset(id, version)?;
        let usable = VenusCapset::from_bytes(&data)
            .is_some_and(|capset| capset.supports_blob_id_0.get() != 0);
        if usable {
            return Ok(Capset { id, version, data });
        }
    }
    Err(RendererError::Failed(
        "virglrenderer offers no Venus: it needs version 1.3 built with Venus and its render server"
            .into(),
    ))
}

fn descriptor(fd: OwnedFd) -> RutabagaDescriptor {
    // SAFETY: the fd is open and its ownership moves into the descriptor.
    #[allow(unsafe_code, reason = "rutabaga has its own type for owned fds")]
    unsafe {
        RutabagaDescriptor::from_raw_descriptor(fd.into_raw_fd())
    }
}

fn owned_fd(descriptor: RutabagaDescriptor) -> OwnedFd {
    use std::os::fd::FromRawFd;

    // SAFETY: the fd is open and its ownership moves out of the descriptor.
    #[allow(unsafe_code, reason = "rutabaga has its own type for owned fds")]
    unsafe {
        OwnedFd::from_raw_fd(descriptor.into_raw_descriptor())
    }
}

/// Tests that open sockets of the kind that workers have, or start programs, which opens some for a
/// moment, one at a time: a watch takes the first that is new.
#[cfg(test)]
fn alone() -> std::sync::MutexGuard<'static, ()> {
    static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    ALONE
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
