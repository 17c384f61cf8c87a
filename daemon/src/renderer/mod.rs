//! Renderers: who carries out what a context asks for.
//!
//! A renderer owns contexts of its capsets and the resources made from them. It stays in the
//! device thread; only [`FenceSink`] leaves it.

pub mod fence_sink;
pub mod none;
#[cfg(feature = "venus")]
pub mod venus;

use std::os::fd::{BorrowedFd, OwnedFd};

use coherd_blob::MemoryProperties;
use coherd_blob::backing::ExportKind;
use coherd_protocol::gpu::wire::{ResourceCreate3d, Transfer3d};
use thiserror::Error;

pub use fence_sink::FenceSink;

use crate::device::image::Direction;
use crate::memory::GuestRanges;

/// Why a renderer did not do what it was asked.
#[derive(Debug, Error)]
pub enum RendererError {
    /// The renderer has no such thing.
    #[error("{0} is not supported by the renderer")]
    Unsupported(&'static str),
    /// The renderer's library returned an error.
    #[error("renderer failed: {0}")]
    Failed(String),
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

/// What a renderer exports of a blob. Nothing in it has been checked.
#[derive(Debug)]
pub struct Export {
    /// The file.
    pub fd: OwnedFd,
    /// What the renderer says it is.
    pub kind: ExportKind,
    /// The renderer's `map_info`, with whatever bits it puts beside the cacheability.
    pub map_info: u32,
}

/// See the module's description.
pub trait Renderer {
    /// The capsets, which do not change.
    fn capsets(&self) -> &[Capset];

    /// Every memory type of the drivers that blobs may come from, if they are known.
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

    /// Destroys a resource that [`Renderer::create_blob`] or [`Renderer::create_3d`] made.
    fn destroy_resource(&mut self, resource_id: u32);

    /// Lets a context use a resource.
    fn attach(&mut self, ctx_id: u32, resource_id: u32);

    /// Takes a resource from a context.
    fn detach(&mut self, ctx_id: u32, resource_id: u32);

    /// Executes commands of a context in order. `commands` is a multiple of 4 bytes, not empty.
    ///
    /// # Errors
    /// See [`RendererError`]; the context is lost then.
    fn submit(&mut self, ctx_id: u32, commands: &mut [u8]) -> Result<(), RendererError>;

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

    /// Becomes readable when the renderer as a whole has died.
    fn death(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Says how the renderer died.
    fn obituary(&mut self) -> String {
        String::new()
    }

    /// Readable while [`Renderer::lost_contexts`] has something to tell.
    fn losses(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Contexts that take no commands any more. They are told until they are destroyed.
    fn lost_contexts(&self) -> Vec<u32> {
        Vec::new()
    }
}
