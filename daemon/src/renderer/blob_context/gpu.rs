//! A GPU, as the blob context needs it.

use std::fmt;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::time::Duration;

use coherd_blob::backing::ExportKind;
use coherd_blob::exporter::Allocated;
use coherd_protocol::blob_context::reply::ImageLayout;
use coherd_protocol::blob_context::{Capset, Status};
use coherd_vulkan::image::ImageRequest;
use coherd_vulkan::memory::AllocationRequest;
use thiserror::Error;

use crate::coherence::AccessError;

/// Why work is not known to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum WorkError {
    /// Not yet.
    #[error("the GPU is not done")]
    NotYet,
    /// It will never be.
    #[error("the GPU failed")]
    Failed(#[source] Status),
}

/// Why the GPU did not begin a copy or a fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TransferFailure {
    /// It has as many as it takes.
    #[error("the GPU is busy")]
    Busy,
    /// It cannot.
    #[error("the GPU refused")]
    Status(#[source] Status),
}

/// Allocates memory and moves bytes in it.
pub trait Gpu: Send + Sync + 'static {
    /// Memory.
    type Memory: Memory;
    /// A copy or a fill.
    type Work: Work;

    /// The part of the capset that the GPU decides.
    fn capset(&self) -> Capset;

    /// Allocates memory that is shared with other processes as far as its type allows.
    ///
    /// # Errors
    /// The status for the guest. What only the host should know is in the log.
    fn allocate(&self, request: &AllocationRequest<'_>) -> Result<Self::Memory, Status>;

    /// Makes an image with memory of its own, shared as by [`Gpu::allocate`].
    ///
    /// # Errors
    /// As for [`Gpu::allocate`].
    fn create_image(
        &self,
        request: &ImageRequest<'_>,
    ) -> Result<(Self::Memory, ImageLayout), Status>;

    /// Begins to copy `size` bytes from an offset in one memory to an offset in another. What was
    /// begun before is done before.
    ///
    /// # Errors
    /// See [`TransferFailure`].
    fn copy(
        &self,
        from: (&Self::Memory, u64),
        to: (&Self::Memory, u64),
        size: u64,
    ) -> Result<Self::Work, TransferFailure>;

    /// Begins to write a word to each 4 bytes of a range. What was begun before is done before.
    ///
    /// # Errors
    /// See [`TransferFailure`].
    fn fill(
        &self,
        to: &Self::Memory,
        range: Range<u64>,
        word: u32,
    ) -> Result<Self::Work, TransferFailure>;

    /// Whether nothing will work any more.
    fn is_lost(&self) -> bool;

    /// Bytes that this process copied in or out of memory so far.
    fn bytes_copied(&self) -> u64;
}

/// Memory of a GPU.
pub trait Memory: fmt::Debug + Send + Sync + 'static {
    /// Bytes.
    fn size(&self) -> u64;

    /// Place of its type in the capset.
    fn type_index(&self) -> u32;

    /// Its properties.
    fn allocated(&self) -> Allocated;

    /// `nonCoherentAtomSize` if it is not coherent.
    fn atom(&self) -> Option<u64>;

    /// The memory as a file, if it can be one.
    ///
    /// # Errors
    /// The status for the guest.
    fn export(&self) -> Result<Option<(OwnedFd, ExportKind)>, Status>;

    /// Copies bytes out, as processors see them; zeros behind the end.
    ///
    /// # Errors
    /// See [`AccessError`].
    fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), AccessError>;

    /// Copies bytes in, as processors do; what is behind the end is dropped.
    ///
    /// # Errors
    /// See [`AccessError`].
    fn write(&self, offset: u64, from: &[u8]) -> Result<(), AccessError>;

    /// Makes what processors wrote visible to the GPU.
    ///
    /// # Errors
    /// See [`AccessError`].
    fn flush(&self, range: Range<u64>) -> Result<(), AccessError>;

    /// Makes what the GPU wrote visible to processors.
    ///
    /// # Errors
    /// See [`AccessError`].
    fn invalidate(&self, range: Range<u64>) -> Result<(), AccessError>;
}

/// Work that a GPU was given. What it uses lives until it is done.
pub trait Work: Send + Sync + 'static {
    /// Waits until it is done, at most for `timeout`.
    ///
    /// # Errors
    /// See [`WorkError`].
    fn wait(&self, timeout: Duration) -> Result<(), WorkError>;
}
