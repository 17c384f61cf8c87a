//! Memory by property.

use std::io;
use std::sync::Arc;

use coherd_protocol::blob_context::command::{self, opcode};
use coherd_protocol::blob_context::reply;
use thiserror::Error;

use crate::blob::Blob;
use crate::context::{CallError, Context, Shared};
use crate::memory::{Memory, MemoryProperties};
use crate::uapi::BlobFlags;

pub use coherd_protocol::blob_context::command::BufferUsage;

/// Why there is no allocation.
#[derive(Debug, Error)]
pub enum AllocateError {
    /// Nothing, or more than the host allows.
    #[error("{size} bytes cannot be allocated; from 1 to {max} can")]
    Size {
        /// What was asked for.
        size: u64,
        /// The most there may be.
        max: u64,
    },
    /// The host did not allocate it.
    #[error("cannot allocate {size} bytes of {required:?} memory")]
    Host {
        /// Bytes.
        size: u64,
        /// Properties that were required.
        required: MemoryProperties,
        /// Why not.
        source: CallError,
    },
    /// See [`BlobError`].
    #[error(transparent)]
    Blob(#[from] BlobError),
}

/// Why no blob was made of what the host had allocated.
#[derive(Debug, Error)]
pub enum BlobError {
    /// The host's size is none that this kernel can ask for.
    #[error("the host allocated {0} bytes, which are not whole pages")]
    Size(u64),
    /// The kernel refused.
    #[error("cannot make a blob{}", window_hint(.0))]
    Kernel(#[source] io::Error),
    /// The host did not make it.
    #[error("the host made no blob; it may be over a quota")]
    Host(#[source] CallError),
}

fn window_hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull => {
            "; the VM's window is full: free something, or let coherd have a larger --window-size"
        }
        _ => "",
    }
}

/// What to allocate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllocationRequest {
    /// Bytes; rounded up to the host's pages.
    pub size: u64,
    /// What its memory type has to have.
    pub required: MemoryProperties,
    /// What its memory type should have beyond that.
    pub preferred: MemoryProperties,
    /// What the GPU does with it beyond copies and fills.
    pub usage: BufferUsage,
    /// Whether it will be shared with other contexts, by [`Allocation::export`].
    pub shareable: bool,
}

impl AllocationRequest {
    /// So many bytes with these properties, for copies and fills.
    #[must_use]
    pub fn new(size: u64, required: MemoryProperties) -> Self {
        Self {
            size,
            required,
            preferred: MemoryProperties::empty(),
            usage: BufferUsage::empty(),
            shareable: false,
        }
    }
}

/// Memory of the host's device.
///
/// It is freed when the last clone, mapping and pending copy of it is gone.
#[derive(Clone, Debug)]
pub struct Allocation {
    pub(crate) blob: Arc<Blob>,
}

impl Context {
    /// Allocates memory. The host takes the type with all of the required and most of the
    /// preferred properties.
    ///
    /// # Errors
    /// [`AllocateError`]
    pub fn allocate(&self, request: &AllocationRequest) -> Result<Allocation, AllocateError> {
        let host = self.host();
        let max = match host.max_allocation_size {
            0 => u64::MAX,
            max => max,
        };
        let size = request.size.checked_next_multiple_of(host.page_size);
        let size = size.filter(|_| (1..=max).contains(&request.size));
        let size = size.ok_or(AllocateError::Size {
            size: request.size,
            max,
        })?;
        let blob_id = self.shared.new_blob_id();
        let command = command::Allocate {
            blob_id: blob_id.into(),
            size: size.into(),
            required: request.required.bits().into(),
            preferred: request.preferred.bits().into(),
            usage: request.usage.bits().into(),
            flags: 0.into(),
        };
        let allocated = self
            .shared
            .call(opcode::ALLOCATE, &command)
            .and_then(|reply| reply.get::<reply::Allocated>());
        match allocated {
            Ok(allocated) => {
                let memory = Memory::new(&allocated.memory);
                Ok(Allocation {
                    blob: make_blob(&self.shared, blob_id, &memory, request.shareable)?,
                })
            }
            Err(source) => {
                forget(&self.shared, blob_id, &source);
                Err(AllocateError::Host {
                    size,
                    required: request.required,
                    source,
                })
            }
        }
    }
}

impl Allocation {
    /// Its size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.blob.memory.size
    }

    /// What memory it is.
    #[must_use]
    pub fn memory(&self) -> &Memory {
        &self.blob.memory
    }

    /// The device's name for it, with which other contexts that have it call it.
    #[must_use]
    pub fn resource_id(&self) -> u32 {
        self.blob.handle.resource_id
    }
}

/// Makes a blob of an object of the context.
pub(crate) fn make_blob(
    shared: &Arc<Shared>,
    blob_id: u64,
    memory: &Memory,
    shareable: bool,
) -> Result<Arc<Blob>, BlobError> {
    let made = create_blob(shared, blob_id, memory, shareable);
    if made.is_err() {
        release(shared, blob_id);
    }
    made
}

fn create_blob(
    shared: &Arc<Shared>,
    blob_id: u64,
    memory: &Memory,
    shareable: bool,
) -> Result<Arc<Blob>, BlobError> {
    let page = u64::try_from(rustix::param::page_size()).unwrap_or(u64::MAX);
    if memory.size == 0 || !memory.size.is_multiple_of(page) {
        // The kernel would round it up, and the host refuse it.
        return Err(BlobError::Size(memory.size));
    }
    let mut flags = BlobFlags::empty();
    flags.set(BlobFlags::MAPPABLE, memory.caching.is_some());
    flags.set(BlobFlags::SHAREABLE, shareable);
    let handle = shared.handles.create_host_blob(blob_id, memory.size, flags);
    let handle = handle.map_err(BlobError::Kernel)?;
    Blob::adopt(shared, handle)
        .map(Arc::new)
        .map_err(BlobError::Host)
}

/// Frees an object that there may be although the call that makes it failed.
pub(crate) fn forget(shared: &Shared, blob_id: u64, error: &CallError) {
    if error.status().is_none() {
        release(shared, blob_id);
    }
}

/// Frees an object. What it is for is over already, so that nobody needs to know how it went.
fn release(shared: &Shared, blob_id: u64) {
    let command = command::Release {
        blob_id: blob_id.into(),
    };
    let _ = shared.post(opcode::RELEASE, &command);
}
