//! Renderers: who carries out what a context asks for.
//!
//! A renderer owns contexts of its capsets and the resources made from them. It stays in the
//! device thread; only [`FenceSink`] leaves it. Several of them are one by [`Dispatch`].

pub mod blob_context;
mod dispatch;
pub mod fence_sink;
pub mod none;
pub mod render_node;
#[cfg(feature = "venus")]
pub mod venus;

use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use coherd_blob::MemoryProperties;
use coherd_blob::backing::ExportKind;
use coherd_protocol::gpu::GpuError;
use coherd_protocol::gpu::wire::{ResourceCreate3d, Transfer3d};
use coherd_protocol::state;
use thiserror::Error;

pub use dispatch::Dispatch;
pub use fence_sink::FenceSink;

use crate::coherence::BlobRecord;
use crate::device::image::Direction;
use crate::device::quota::Quota;
use crate::memory::GuestRanges;
use crate::snapshot::Bytes;

/// Why a renderer did not do what it was asked.
#[derive(Debug, Error)]
pub enum RendererError {
    /// The renderer has no such thing.
    #[error("{0} is not supported by the renderer")]
    Unsupported(&'static str),
    /// The renderer's library returned an error.
    #[error("renderer failed: {0}")]
    Failed(String),
    /// Work is not done in the time there was.
    #[error("the GPU is not done in time")]
    Busy,
    /// The guest asked for what cannot be. Nothing was done, and the context goes on.
    #[error("bad {what}: {detail}")]
    Invalid {
        /// What is wrong, as in [`GpuError::BadField`].
        what: &'static str,
        /// How.
        detail: String,
    },
}

/// A capability set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capset {
    /// Capset id, VIRTIO 1.4 section 5.7.6.8.
    pub id: u32,
    /// Highest version.
    pub version: u32,
    /// Its contents.
    pub data: Vec<u8>,
}

/// A blob to be made from an object of a context.
#[derive(Clone, Copy, Debug)]
pub struct BlobRequest {
    /// Context that has the object.
    pub ctx_id: u32,
    /// Resource the blob becomes.
    pub resource_id: u32,
    /// `blob_mem` of CREATE_BLOB.
    pub blob_mem: u32,
    /// `blob_flags` of CREATE_BLOB.
    pub blob_flags: u32,
    /// Object within the context.
    pub blob_id: u64,
    /// Bytes.
    pub size: u64,
}

/// What a renderer gives out of a blob.
#[derive(Debug)]
pub enum Export {
    /// A file of another process.
    File(ExportedFile),
    /// What this process allocated, for which [`MappingTypes::decide_mapping`] was asked.
    ///
    /// [`MappingTypes::decide_mapping`]: crate::mapping_type::MappingTypes::decide_mapping
    Record(Arc<BlobRecord>),
}

/// A file that another process exported. Nothing in it has been checked.
#[derive(Debug)]
pub struct ExportedFile {
    /// The file.
    pub fd: OwnedFd,
    /// What the renderer says it is.
    pub kind: ExportKind,
    /// The `map_info` that the renderer guesses, with whatever bits it puts beside the
    /// cacheability.
    pub map_info: u32,
}

/// Where a context's replies go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyPlace {
    /// A blob in guest memory.
    pub resource_id: u32,
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub size: u64,
}

/// What a renderer has of a context, apart from what the device knows.
#[derive(Default)]
pub struct SavedContext {
    /// Where replies go.
    pub replies: Option<ReplyPlace>,
    /// Objects that no resource was made from, by blob id.
    pub objects: Vec<(u64, SavedMemory)>,
    /// Accesses that have begun.
    pub brackets: Vec<state::Bracket>,
}

/// Memory that is saved.
pub struct SavedMemory {
    /// What it is.
    pub memory: state::Memory,
    /// What is in it.
    pub bytes: Box<dyn Bytes>,
}

/// Memory that was made again and has nothing in it yet.
pub struct LoadedMemory {
    /// Its file, if others can map it.
    pub record: Option<Arc<BlobRecord>>,
    /// The way to its bytes.
    pub bytes: Box<dyn Bytes>,
}

/// What memory becomes that is made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadPlace {
    /// A resource.
    Resource(u32),
    /// An object of a context.
    Object {
        /// The context.
        ctx_id: u32,
        /// The object.
        blob_id: u64,
    },
}

/// What a context can reach of its device while its commands are executed.
pub trait Scope {
    /// Guest memory of a blob in guest memory alone that is attached to the context.
    fn guest_memory(&self, resource_id: u32) -> Option<Arc<GuestRanges>>;

    /// Counts an object of the context that no resource was made from, and its bytes.
    /// [`Renderer::reserved`] tells of it until one is.
    ///
    /// # Errors
    /// [`GpuError::Quota`], counted and logged.
    fn reserve(&mut self, bytes: u64) -> Result<(), GpuError>;

    /// Takes off what [`Scope::reserve`] counted for an object of so many bytes that is gone.
    fn release(&mut self, bytes: u64);

    /// Whether there may be one more of what the renderer counts itself: the VM has `vm` of it
    /// and the context `context`.
    ///
    /// # Errors
    /// [`GpuError::Quota`], counted and logged.
    fn admit(&mut self, quota: Quota, vm: usize, context: usize) -> Result<(), GpuError>;
}

/// See the module's description.
pub trait Renderer {
    /// The capsets, which do not change.
    fn capsets(&self) -> &[Capset];

    /// Every memory type of the drivers that [`Export::File`] may come from,
    /// if they are known.
    fn memory_types(&self) -> Option<&[MemoryProperties]> {
        None
    }

    /// Creates a context of the type `capset_id`.
    ///
    /// # Errors
    /// See [`RendererError`].
    fn create_context(
        &mut self,
        ctx_id: u32,
        capset_id: u32,
        name: &str,
    ) -> Result<(), RendererError>;

    /// Destroys a context. Its fences may never be signalled.
    fn destroy_context(&mut self, ctx_id: u32);

    /// Destroys a context whose work does not end, together with what works for it.
    fn abort_context(&mut self, ctx_id: u32) {
        self.destroy_context(ctx_id);
    }

    /// Creates a blob and exports it, once. `None` where the blob cannot be exported.
    ///
    /// # Errors
    /// See [`RendererError`].
    fn create_blob(&mut self, blob: &BlobRequest) -> Result<Option<Export>, RendererError>;

    /// Creates a resource that is not a blob, and returns the bytes of memory it takes.
    ///
    /// # Errors
    /// See [`RendererError`].
    fn create_3d(&mut self, request: &ResourceCreate3d) -> Result<u64, RendererError> {
        let _ = request;
        Err(RendererError::Unsupported("a renderer with 3D resources"))
    }

    /// Copies a box between a resource and the guest memory behind it.
    ///
    /// # Errors
    /// See [`RendererError`].
    fn transfer(
        &mut self,
        ctx_id: u32,
        request: &Transfer3d,
        backing: &GuestRanges,
        direction: Direction,
    ) -> Result<(), RendererError> {
        let _ = (ctx_id, request, backing, direction);
        Err(RendererError::Unsupported("a transfer"))
    }

    /// Bytes that the object of a blob to be made counts for already, by [`Scope::reserve`];
    /// `None` if it does not count.
    fn reserved(&self, blob: &BlobRequest) -> Option<u64> {
        let _ = blob;
        None
    }

    /// Takes over a blob of another renderer under its resource id, once, so that its own
    /// contexts can use it. [`Renderer::destroy_resource`] follows when the resource goes, before
    /// the renderer that made it is told.
    ///
    /// # Errors
    /// See [`RendererError`].
    fn import(&mut self, resource_id: u32, blob: &BlobRecord) -> Result<(), RendererError> {
        let _ = (resource_id, blob);
        Err(RendererError::Unsupported("a blob of another renderer"))
    }

    /// Destroys a resource that [`Renderer::create_blob`] or [`Renderer::create_3d`] made or
    /// [`Renderer::import`] took.
    fn destroy_resource(&mut self, resource_id: u32);

    /// Lets a context use a resource. `blob` is the resource's file, for a renderer that did not
    /// make it.
    ///
    /// # Errors
    /// What [`Renderer::import`] says; a renderer's own resources cause none.
    fn attach(
        &mut self,
        ctx_id: u32,
        resource_id: u32,
        blob: Option<&BlobRecord>,
    ) -> Result<(), RendererError>;

    /// Takes a resource from a context.
    fn detach(&mut self, ctx_id: u32, resource_id: u32);

    /// The guest takes back the memory of a resource from a context, which may have got it by
    /// [`Scope::guest_memory`]. None of it is touched once this returns.
    fn revoke(&mut self, ctx_id: u32, resource_id: u32) {
        let _ = (ctx_id, resource_id);
    }

    /// Executes commands of a context in order. `commands` is a multiple of 4 bytes, not empty.
    ///
    /// # Errors
    /// See [`RendererError`]; the context is lost then unless it is [`RendererError::Invalid`].
    fn submit(
        &mut self,
        ctx_id: u32,
        commands: &mut [u8],
        scope: &mut dyn Scope,
    ) -> Result<(), RendererError>;

    /// Asks for a signal to the [`FenceSink`] once all that was submitted to this ring is done.
    /// `fence_id` is the device's number, larger than every one before. The signal may come before
    /// this returns, and after the context is gone.
    ///
    /// # Errors
    /// See [`RendererError`]; there will be no signal then.
    fn create_fence(
        &mut self,
        ctx_id: u32,
        ring_idx: u8,
        fence_id: u64,
    ) -> Result<(), RendererError>;

    /// Whether what the renderer has of a context can be saved.
    fn can_save(&self, ctx_id: u32) -> bool {
        let _ = ctx_id;
        false
    }

    /// Waits until a context has nothing left to do, and says what the renderer has of it.
    ///
    /// # Errors
    /// [`RendererError::Busy`] if that takes longer than `until`; else see [`RendererError`].
    fn save_context(&mut self, ctx_id: u32, until: Instant) -> Result<SavedContext, RendererError> {
        let _ = (ctx_id, until);
        Err(RendererError::Unsupported("saving"))
    }

    /// The memory of a blob, if it can be saved.
    fn save_blob(&self, resource_id: u32) -> Option<SavedMemory> {
        let _ = resource_id;
        None
    }

    /// Makes memory again that [`Renderer::save_blob`] or [`Renderer::save_context`] told of.
    ///
    /// # Errors
    /// See [`RendererError`].
    fn load_blob(
        &mut self,
        place: LoadPlace,
        memory: &state::Memory,
    ) -> Result<LoadedMemory, RendererError> {
        let _ = (place, memory);
        Err(RendererError::Unsupported("memory that was saved"))
    }

    /// Gives a context that was created again what [`Renderer::save_context`] told of it, once
    /// its resources are attached and there is guest memory.
    ///
    /// # Errors
    /// See [`RendererError`].
    fn resume_context(
        &mut self,
        ctx_id: u32,
        replies: Option<(ReplyPlace, Arc<GuestRanges>)>,
        brackets: &[state::Bracket],
    ) -> Result<(), RendererError> {
        let _ = (ctx_id, replies, brackets);
        Ok(())
    }

    /// Bytes of host blobs that processors copied for this process so far.
    fn blob_bytes_copied(&self) -> u64 {
        0
    }

    /// Each becomes readable when something that the renderer as a whole rests on has died.
    fn deaths(&self) -> Vec<BorrowedFd<'_>> {
        Vec::new()
    }

    /// Says how what [`Renderer::deaths`] has at this index died.
    fn obituary(&mut self, index: usize) -> String {
        let _ = index;
        String::new()
    }

    /// Readable while [`Renderer::lost_contexts`] has something to tell.
    fn losses(&self) -> Vec<BorrowedFd<'_>> {
        Vec::new()
    }

    /// Contexts that take no commands any more. They are told until they are destroyed.
    fn lost_contexts(&mut self) -> Vec<u32> {
        Vec::new()
    }
}
