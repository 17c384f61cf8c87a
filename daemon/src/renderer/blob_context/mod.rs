//! The blob context, capset 28: memory by property for guests, and the means to keep it right.
//!
//! The format is in `docs/blob-context.md`. Commands are decoded and checked in the device thread;
//! those that wait for the GPU are carried out by a thread for each context, in order.

mod blob;
mod capset;
mod commands;
mod context;
pub mod gpu;
mod host;
mod job;
mod queue;
mod reply;
mod slot;
mod snapshot;
mod status;
mod vulkan;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use coherd_protocol::blob_context::{CAPSET_BLOB, Stream, VERSION};
use coherd_protocol::gpu::blob_mem;
use coherd_protocol::gpu::header::{Fence, Timeline};
use coherd_protocol::state;
use tracing::warn;

use self::blob::Blob;
use self::commands::Call;
use self::context::Context;
use self::gpu::Gpu;
use self::host::Host;
use self::queue::{Queue, Service, Threads};
use self::slot::Gauge;
pub use self::vulkan::{Vulkan, VulkanError};
use super::{
    BlobRequest, Capset, Export, FenceSink, LoadPlace, LoadedMemory, Renderer, RendererError,
    ReplyPlace, SavedContext, SavedMemory, Scope,
};
use crate::coherence::BlobRecord;
use crate::mapping_type::MappingTypes;
use crate::memory::GuestRanges;

/// How long the threads of contexts may take to end when the renderer does.
const LAST_WORK: Duration = Duration::from_secs(3);

/// See the module's description.
pub struct BlobContexts<G: Gpu> {
    host: Host<G>,
    capsets: [Capset; 1],
    contexts: HashMap<u32, Context<G>>,
    /// Blobs that are resources.
    blobs: HashMap<u32, Arc<Blob<G>>>,
    fences: FenceSink,
    service: Service,
    jobs: Gauge,
    accesses: Gauge,
}

impl<G: Gpu> BlobContexts<G> {
    /// The renderer of contexts that allocate from `gpu`. What they may map is decided by `types`.
    pub fn new(gpu: Arc<G>, types: Arc<MappingTypes>, fences: FenceSink) -> Self {
        let capset = capset::complete(gpu.capset());
        let data = capset.encode();
        Self {
            host: Host { gpu, capset, types },
            capsets: [Capset {
                id: CAPSET_BLOB,
                version: VERSION,
                data,
            }],
            contexts: HashMap::new(),
            blobs: HashMap::new(),
            fences,
            service: Service::Threads(Threads::default()),
            jobs: Gauge::default(),
            accesses: Gauge::default(),
        }
    }

    /// Has the jobs of contexts carried out by whoever submits them, for GPUs that have nothing
    /// to wait for.
    #[must_use]
    pub fn without_threads(mut self) -> Self {
        self.service = Service::Caller;
        self
    }

    fn context(&mut self, ctx_id: u32) -> Result<&mut Context<G>, RendererError> {
        let missing = || RendererError::Failed(format!("no context {ctx_id}"));
        self.contexts.get_mut(&ctx_id).ok_or_else(missing)
    }

    fn object(&self, request: &BlobRequest) -> Option<&Arc<Blob<G>>> {
        let context = self.contexts.get(&request.ctx_id)?;
        let object = context.objects.get(&request.blob_id)?;
        (object.size == request.size && request.blob_mem == blob_mem::HOST3D).then_some(object)
    }
}

impl<G: Gpu> Renderer for BlobContexts<G> {
    fn capsets(&self) -> &[Capset] {
        &self.capsets
    }

    fn create_context(&mut self, ctx_id: u32, _: u32, _: &str) -> Result<(), RendererError> {
        if self.host.gpu.is_lost() {
            return Err(RendererError::Failed("the GPU is lost".to_owned()));
        }
        let queue = Queue::new(
            Arc::clone(&self.host.gpu),
            self.fences.clone(),
            self.service.clone(),
            self.jobs.of_context(),
        );
        let context = Context::new(queue, self.accesses.of_context());
        self.contexts.insert(ctx_id, context);
        Ok(())
    }

    fn destroy_context(&mut self, ctx_id: u32) {
        self.contexts.remove(&ctx_id);
    }

    fn create_blob(&mut self, request: &BlobRequest) -> Result<Option<Export>, RendererError> {
        let Some(blob) = self.object(request).map(Arc::clone) else {
            return Err(self.refuse(request));
        };
        self.context(request.ctx_id)?
            .objects
            .remove(&request.blob_id);
        let record = blob.record.clone();
        self.blobs.insert(request.resource_id, blob);
        Ok(record.map(Export::Record))
    }

    fn reserved(&self, request: &BlobRequest) -> Option<u64> {
        self.object(request).map(|object| object.size)
    }

    fn destroy_resource(&mut self, resource_id: u32) {
        self.blobs.remove(&resource_id);
    }

    fn attach(
        &mut self,
        ctx_id: u32,
        resource_id: u32,
        _: Option<&BlobRecord>,
    ) -> Result<(), RendererError> {
        let blob = self.blobs.get(&resource_id).map(Arc::clone);
        let foreign = RendererError::Unsupported("a blob of another renderer");
        let blob = blob.ok_or(foreign)?;
        self.context(ctx_id)?.attached.insert(resource_id, blob);
        Ok(())
    }

    fn detach(&mut self, ctx_id: u32, resource_id: u32) {
        if let Ok(context) = self.context(ctx_id) {
            context.detach(resource_id);
        }
    }

    fn revoke(&mut self, ctx_id: u32, resource_id: u32) {
        if let Ok(context) = self.context(ctx_id) {
            context.revoke(resource_id);
        }
    }

    fn submit(
        &mut self,
        ctx_id: u32,
        commands: &mut [u8],
        scope: &mut dyn Scope,
    ) -> Result<(), RendererError> {
        let stream = Stream::new(commands).map_err(|error| RendererError::Invalid {
            what: "command stream",
            detail: error.to_string(),
        })?;
        let missing = || RendererError::Failed(format!("no context {ctx_id}"));
        let context = self.contexts.get_mut(&ctx_id).ok_or_else(missing)?;
        let mut call = Call {
            host: &self.host,
            context,
            scope,
        };
        stream.for_each(|request| call.execute(&request));
        Ok(())
    }

    fn can_save(&self, ctx_id: u32) -> bool {
        self.contexts.contains_key(&ctx_id)
    }

    fn save_context(&mut self, ctx_id: u32, until: Instant) -> Result<SavedContext, RendererError> {
        self.save(ctx_id, until)
    }

    fn save_blob(&self, resource_id: u32) -> Option<SavedMemory> {
        self.save_resource(resource_id)
    }

    fn load_blob(
        &mut self,
        place: LoadPlace,
        memory: &state::Memory,
    ) -> Result<LoadedMemory, RendererError> {
        let blob = self.load(memory)?;
        let lent = self.lend(&blob)?;
        match place {
            LoadPlace::Resource(id) => self.blobs.insert(id, blob),
            LoadPlace::Object { ctx_id, blob_id } => {
                self.context(ctx_id)?.objects.insert(blob_id, blob)
            }
        };
        Ok(lent)
    }

    fn resume_context(
        &mut self,
        ctx_id: u32,
        replies: Option<(ReplyPlace, Arc<GuestRanges>)>,
        brackets: &[state::Bracket],
    ) -> Result<(), RendererError> {
        self.resume(ctx_id, replies, brackets)
    }

    fn blob_bytes_copied(&self) -> u64 {
        self.host.gpu.bytes_copied()
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
        let context = self.context(ctx_id)?;
        context
            .queue
            .put_fence(fence)
            .map_err(|error| RendererError::Failed(error.to_string()))
    }
}

impl<G: Gpu> BlobContexts<G> {
    /// What is wrong with a request that no object fits.
    fn refuse(&self, request: &BlobRequest) -> RendererError {
        if request.blob_mem != blob_mem::HOST3D {
            return RendererError::Unsupported("a blob with guest memory");
        }
        let object = self
            .contexts
            .get(&request.ctx_id)
            .and_then(|context| context.objects.get(&request.blob_id));
        match object {
            Some(object) => RendererError::Invalid {
                what: "blob size",
                detail: format!("{} instead of {} bytes", request.size, object.size),
            },
            None => RendererError::Invalid {
                what: "blob id",
                detail: format!("no object {:#x}", request.blob_id),
            },
        }
    }
}

impl<G: Gpu> Drop for BlobContexts<G> {
    fn drop(&mut self) {
        self.contexts.clear();
        if let Service::Threads(threads) = &self.service
            && !threads.wait_ended(LAST_WORK)
        {
            warn!("the GPU still works for contexts that are gone");
        }
    }
}
