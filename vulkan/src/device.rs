//! An open device.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use thiserror::Error;

use crate::adapter::Adapter;
use crate::enumerate::EnumerateError;
use crate::error::DeviceError;
use crate::image::{FormatModifier, Image, ImageError, ImageRequest};
use crate::memory::{
    AllocateError, Allocation, AllocationRequest, HeapInfo, HostMemory, ImportError, ImportRequest,
    MemoryTypeInfo,
};
use crate::options::Options;
use crate::selector::{SelectError, Selector};
use crate::transfer::{Submission, TransferError};

/// Why no device was opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The host's devices could not be listed.
    #[error("cannot use Vulkan on this host")]
    Enumerate(#[from] EnumerateError),
    /// No device fits.
    #[error(transparent)]
    Select(#[from] SelectError),
    /// The loader does not find a layer.
    #[error("no Vulkan layer {0}: install it, or name its folder in VK_ADD_LAYER_PATH")]
    NoLayer(String),
    /// The device lacks what this crate cannot do without.
    #[error("{adapter} has no {missing}")]
    Incapable {
        /// The device.
        adapter: String,
        /// What it lacks.
        missing: &'static str,
    },
    /// A Vulkan call failed.
    #[error(transparent)]
    Device(#[from] DeviceError),
}

/// An open device. Clones are the same device, which lives as long as anything made from it.
#[derive(Clone, Debug)]
pub struct Device {
    adapter: Adapter,
}

impl Device {
    /// Opens the device that `selector` chooses.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(selector: &Selector, options: &Options) -> Result<Self, OpenError> {
        let _ = options;
        let adapters = crate::enumerate()?;
        let adapter = crate::select(&adapters, selector.clone())?.clone();
        Ok(Self { adapter })
    }

    /// The device.
    pub fn adapter(&self) -> &Adapter {
        &self.adapter
    }

    /// Its memory types, in Vulkan's order: [`MemoryTypeInfo::index`] is the place in it.
    pub fn memory_types(&self) -> &[MemoryTypeInfo] {
        &[]
    }

    /// Its heaps as they are now.
    pub fn heaps(&self) -> Vec<HeapInfo> {
        Vec::new()
    }

    /// Flushes and invalidates work on multiples of this, `nonCoherentAtomSize`, in bytes.
    pub fn atom_size(&self) -> u64 {
        64
    }

    /// The largest allocation, in bytes.
    pub fn max_allocation_size(&self) -> u64 {
        0
    }

    /// The longest side of an image, in pixels.
    pub fn max_image_dimension(&self) -> u32 {
        0
    }

    /// Formats and modifiers of which it makes images; none if it makes none.
    pub fn formats(&self) -> &[FormatModifier] {
        &[]
    }

    /// Whether the device is lost. Everything that needs it then fails with
    /// [`DeviceError::Lost`], at once.
    pub fn lost(&self) -> bool {
        false
    }

    /// Allocates memory.
    ///
    /// # Errors
    /// See [`AllocateError`].
    pub fn allocate(&self, request: &AllocationRequest<'_>) -> Result<Allocation, AllocateError> {
        let _ = request;
        Err(AllocateError::Unsupported("allocate"))
    }

    /// Creates an image with memory of its own.
    ///
    /// # Errors
    /// See [`ImageError`].
    pub fn create_image(&self, request: &ImageRequest<'_>) -> Result<Image, ImageError> {
        let _ = request;
        Err(ImageError::Unsupported)
    }

    /// Imports a dma-buf.
    ///
    /// # Errors
    /// See [`ImportError`]; the fd is closed.
    pub fn import_dma_buf(
        &self,
        fd: OwnedFd,
        request: &ImportRequest<'_>,
    ) -> Result<Allocation, ImportError> {
        let _ = (fd, request);
        Err(ImportError::Refused)
    }

    /// Imports memory of the host, which lives until the allocation is freed.
    ///
    /// # Errors
    /// See [`ImportError`].
    pub fn import_host(
        &self,
        memory: Arc<dyn HostMemory>,
        request: &ImportRequest<'_>,
    ) -> Result<Allocation, ImportError> {
        let _ = (memory, request);
        Err(ImportError::Refused)
    }

    /// Has the GPU copy `size` bytes.
    ///
    /// Transfers of one device are executed in the order in which they were given.
    ///
    /// # Errors
    /// See [`TransferError`].
    pub fn copy(
        &self,
        source: &Allocation,
        source_offset: u64,
        destination: &Allocation,
        destination_offset: u64,
        size: u64,
    ) -> Result<Submission, TransferError> {
        let _ = (source, source_offset, destination, destination_offset, size);
        Err(TransferError::Unsupported)
    }

    /// Has the GPU write `value` to each 32-bit word of a range.
    ///
    /// # Errors
    /// See [`TransferError`].
    pub fn fill(
        &self,
        destination: &Allocation,
        offset: u64,
        size: u64,
        value: u32,
    ) -> Result<Submission, TransferError> {
        let _ = (destination, offset, size, value);
        Err(TransferError::Unsupported)
    }
}
