//! An open device.

use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::adapter::Adapter;
use crate::image;
use crate::image::{Candidate, FormatModifier, Image, ImageError, ImageRequest};
use crate::logical::LogicalDevice;
use crate::memory::{
    self, AllocateError, Allocation, AllocationRequest, Exports, HeapInfo, HostMemory, ImportError,
    ImportRequest, Memory, MemoryTypeInfo,
};
use crate::open::{OpenError, open};
use crate::options::Options;
use crate::selector::Selector;
use crate::transfer::{self, Queue, Submission, TransferError};

/// What there is of an open device.
pub(crate) struct Opened {
    pub adapter: Adapter,
    pub device: Arc<LogicalDevice>,
    pub queue: Arc<Queue>,
    pub exports: Exports,
    pub memory_types: Vec<MemoryTypeInfo>,
    pub candidates: Vec<Candidate>,
    pub formats: Vec<FormatModifier>,
}

/// An open device. Clones are the same device, which lives as long as anything made from it.
#[derive(Clone)]
pub struct Device(Arc<Opened>);

impl Device {
    /// Opens the device that `selector` chooses.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(selector: &Selector, options: &Options) -> Result<Self, OpenError> {
        Ok(Self(Arc::new(open(selector, options)?)))
    }

    /// The device.
    pub fn adapter(&self) -> &Adapter {
        &self.0.adapter
    }

    /// Its memory types, in Vulkan's order: [`MemoryTypeInfo::index`] is the place in it.
    pub fn memory_types(&self) -> &[MemoryTypeInfo] {
        &self.0.memory_types
    }

    /// Its heaps as they are now.
    pub fn heaps(&self) -> Vec<HeapInfo> {
        self.0.queue.reap();
        memory::heaps(&self.0.device)
    }

    /// Flushes and invalidates work on multiples of this, `nonCoherentAtomSize`, in bytes.
    pub fn atom_size(&self) -> u64 {
        self.0.device.facts().atom_size
    }

    /// The largest allocation, in bytes.
    pub fn max_allocation_size(&self) -> u64 {
        self.0.device.facts().max_allocation_size
    }

    /// The longest side of an image, in pixels.
    pub fn max_image_dimension(&self) -> u32 {
        self.0.device.facts().max_image_dimension
    }

    /// Formats and modifiers of which it makes images; none if it makes none.
    pub fn formats(&self) -> &[FormatModifier] {
        &self.0.formats
    }

    /// Bytes that this process copied in or out of mapped memory so far.
    pub fn bytes_copied(&self) -> u64 {
        self.0.device.copied().bytes()
    }

    /// Whether the device is lost. Everything that needs it then fails with
    /// [`DeviceError::Lost`](crate::DeviceError::Lost), at once.
    pub fn lost(&self) -> bool {
        self.0.device.lost()
    }

    /// Allocates memory.
    ///
    /// # Errors
    /// See [`AllocateError`].
    pub fn allocate(&self, request: &AllocationRequest<'_>) -> Result<Allocation, AllocateError> {
        self.0.queue.reap();
        let memory = memory::allocate(&self.0.device, &self.0.exports, request)?;
        Ok(self.allocation(memory))
    }

    /// Creates an image with memory of its own.
    ///
    /// # Errors
    /// See [`ImageError`].
    pub fn create_image(&self, request: &ImageRequest<'_>) -> Result<Image, ImageError> {
        self.0.queue.reap();
        let created = image::create(&self.0.device, &self.0.candidates, request)?;
        let allocation = self.allocation(created.memory);
        Ok(Image::new(allocation, created.modifier, created.planes))
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
        let memory = memory::import_dma_buf(&self.0.device, fd, request)?;
        Ok(self.allocation(memory))
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
        let memory = memory::import_host(&self.0.device, memory, request)?;
        Ok(self.allocation(memory))
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
        let work = transfer::copy(
            &self.0.device,
            (source.memory(), source_offset),
            (destination.memory(), destination_offset),
            size,
        )?;
        Ok(Submission::new(&self.0.queue, self.0.queue.submit(work)?))
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
        let work = transfer::fill(&self.0.device, destination.memory(), offset, size, value)?;
        Ok(Submission::new(&self.0.queue, self.0.queue.submit(work)?))
    }

    fn allocation(&self, memory: Memory) -> Allocation {
        Allocation::new(memory, &self.0.memory_types)
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Device")
            .field("adapter", &self.0.adapter)
            .field("lost", &self.lost())
            .finish_non_exhaustive()
    }
}
