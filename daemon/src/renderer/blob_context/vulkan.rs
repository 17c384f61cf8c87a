//! The GPU of `coherd-vulkan`.

use std::fmt::Display;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use coherd_blob::MemoryProperties;
use coherd_blob::backing::ExportKind;
use coherd_blob::exporter::Allocated;
use coherd_protocol::blob_context::reply::{ImageLayout, Plane};
use coherd_protocol::blob_context::{Capset, Status};
use coherd_vulkan::image::{Image, ImageError, ImageRequest, PlaneLayout};
use coherd_vulkan::memory::{Allocation, AllocationRequest, ExportError, ExportNeed};
use coherd_vulkan::transfer::{Submission, TransferError};
use coherd_vulkan::{AdapterKind, Device, OpenError, Options, Selector};
use thiserror::Error;
use tracing::{debug, error, info, warn};
use zerocopy::FromZeros;

use super::capset;
use super::gpu::{Gpu, Memory, TransferFailure, Work, WorkError};
use super::status::{of_allocate, of_export, of_image, of_memory, of_transfer, of_wait};
use crate::coherence::AccessError;
use crate::renderer::render_node::{RenderNodeError, render_node as find_node};

/// Why there is no GPU.
#[derive(Debug, Error)]
pub enum VulkanError {
    /// The render node is not one.
    #[error(transparent)]
    RenderNode(#[from] RenderNodeError),
    /// There is no Vulkan device, or it does not work.
    #[error(transparent)]
    Open(#[from] OpenError),
}

/// See the module's description.
#[derive(Debug)]
pub struct Vulkan {
    device: Device,
    loss_is_told: AtomicBool,
}

impl Vulkan {
    /// Opens the device of `render_node` if that is given, else the first GPU, else the CPU.
    ///
    /// # Errors
    /// See [`VulkanError`].
    pub fn open(render_node: Option<&Path>) -> Result<Self, VulkanError> {
        let node = render_node.map(find_node).transpose()?;
        let device = Device::open(&Selector::from(node), &Options::default())?;
        let adapter = device.adapter();
        match adapter.kind {
            AdapterKind::Hardware => info!(device = %adapter, "blob contexts allocate from"),
            AdapterKind::Software => {
                warn!(device = %adapter, "no GPU: blob contexts allocate from the CPU");
            }
        }
        Ok(Self::new(device))
    }

    /// Allocates from `device`.
    pub fn new(device: Device) -> Self {
        Self {
            device,
            loss_is_told: AtomicBool::new(false),
        }
    }

    /// Says what only the host should know, and passes the status on.
    fn tell(&self, what: &str, why: &dyn Display, status: Status) -> Status {
        debug!("{what}: {why}");
        if status == Status::DeviceLost && !self.loss_is_told.swap(true, Ordering::Relaxed) {
            error!(
                "the GPU of the blob contexts is lost: {why}; they answer errors until coherd is \
                 started again"
            );
        }
        status
    }

    fn tell_transfer(&self, error: &TransferError) -> TransferFailure {
        let failure = of_transfer(error);
        if let TransferFailure::Status(status) = failure {
            self.tell("no transfer for a blob context", error, status);
        }
        failure
    }

    fn memory(&self, allocation: Allocation) -> VulkanMemory {
        let coherent = allocation
            .properties()
            .contains(MemoryProperties::HOST_COHERENT);
        VulkanMemory {
            atom: (!coherent).then(|| self.device.atom_size()),
            integrated: self.device.adapter().integrated,
            allocation,
        }
    }

    fn image(&self, request: &ImageRequest<'_>, export: ExportNeed) -> Result<Image, ImageError> {
        self.device
            .create_image(&ImageRequest { export, ..*request })
    }
}

impl Gpu for Vulkan {
    type Memory = VulkanMemory;
    type Work = Submission;

    fn capset(&self) -> Capset {
        capset::of_device(&self.device)
    }

    fn allocate(&self, request: &AllocationRequest<'_>) -> Result<VulkanMemory, Status> {
        let request = AllocationRequest {
            export: ExportNeed::IfPossible,
            ..*request
        };
        let allocation = self.device.allocate(&request).map_err(|error| {
            let status = of_allocate(&error);
            self.tell("no memory for a blob context", &error, status)
        })?;
        Ok(self.memory(allocation))
    }

    fn create_image(
        &self,
        request: &ImageRequest<'_>,
    ) -> Result<(VulkanMemory, ImageLayout), Status> {
        let image = self
            .image(request, ExportNeed::DmaBuf)
            .or_else(|error| match error {
                // It may be one that stays here.
                ImageError::UnsupportedModifier | ImageError::Unsupported => {
                    self.image(request, ExportNeed::None)
                }
                error => Err(error),
            });
        let image = image.map_err(|error| {
            let status = of_image(&error);
            self.tell("no image for a blob context", &error, status)
        })?;
        let layout = layout(&image);
        Ok((self.memory(image.into_allocation()), layout))
    }

    fn copy(
        &self,
        (from, from_offset): (&VulkanMemory, u64),
        (to, to_offset): (&VulkanMemory, u64),
        size: u64,
    ) -> Result<Submission, TransferFailure> {
        let (from, to) = (&from.allocation, &to.allocation);
        let submitted = self.device.copy(from, from_offset, to, to_offset, size);
        submitted.map_err(|error| self.tell_transfer(&error))
    }

    fn fill(
        &self,
        to: &VulkanMemory,
        range: Range<u64>,
        word: u32,
    ) -> Result<Submission, TransferFailure> {
        let size = range.end.saturating_sub(range.start);
        let submitted = self.device.fill(&to.allocation, range.start, size, word);
        submitted.map_err(|error| self.tell_transfer(&error))
    }

    fn is_lost(&self) -> bool {
        self.device.lost()
    }

    fn bytes_copied(&self) -> u64 {
        self.device.bytes_copied()
    }
}

/// Memory of the device.
#[derive(Debug)]
pub struct VulkanMemory {
    allocation: Allocation,
    atom: Option<u64>,
    integrated: Option<bool>,
}

impl Memory for VulkanMemory {
    fn size(&self) -> u64 {
        self.allocation.size()
    }

    fn type_index(&self) -> u32 {
        self.allocation.memory_type_index()
    }

    fn allocated(&self) -> Allocated {
        Allocated {
            properties: self.allocation.properties(),
            integrated: self.integrated,
        }
    }

    fn atom(&self) -> Option<u64> {
        self.atom
    }

    fn export(&self) -> Result<Option<(OwnedFd, ExportKind)>, Status> {
        match self.allocation.export() {
            Ok(exported) => Ok(Some((exported.fd, exported.kind))),
            Err(ExportError::NotExportable) => Ok(None),
            Err(error) => {
                debug!(%error, "memory of a blob context is not exported");
                Err(of_export(&error))
            }
        }
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), AccessError> {
        let memory = self.allocation.map().map_err(|error| of_memory(&error))?;
        let inside = inside(offset, into.len(), self.allocation.size());
        let (inside, behind) = into.split_at_mut(inside);
        behind.fill(0);
        if inside.is_empty() {
            return Ok(());
        }
        memory
            .read(offset, inside)
            .map_err(|error| of_memory(&error))
    }

    fn write(&self, offset: u64, from: &[u8]) -> Result<(), AccessError> {
        let memory = self.allocation.map().map_err(|error| of_memory(&error))?;
        let inside = inside(offset, from.len(), self.allocation.size());
        let inside = from.get(..inside).unwrap_or_default();
        if inside.is_empty() {
            return Ok(());
        }
        memory
            .write(offset, inside)
            .map_err(|error| of_memory(&error))
    }

    fn flush(&self, range: Range<u64>) -> Result<(), AccessError> {
        let Some(range) = within(&range, self.allocation.size()) else {
            return Ok(());
        };
        self.allocation
            .flush(range)
            .map_err(|error| of_memory(&error))
    }

    fn invalidate(&self, range: Range<u64>) -> Result<(), AccessError> {
        let Some(range) = within(&range, self.allocation.size()) else {
            return Ok(());
        };
        self.allocation
            .invalidate(range)
            .map_err(|error| of_memory(&error))
    }
}

/// The part of a range that the device has. A blob is whole pages, and its memory may end within
/// the last.
fn within(range: &Range<u64>, size: u64) -> Option<Range<u64>> {
    let end = range.end.min(size);
    (range.start < end).then_some(range.start..end)
}

/// How many of `len` bytes from `offset` on the device has.
fn inside(offset: u64, len: usize, size: u64) -> usize {
    let left = usize::try_from(size.saturating_sub(offset)).unwrap_or(usize::MAX);
    len.min(left)
}

impl Work for Submission {
    fn wait(&self, timeout: Duration) -> Result<(), WorkError> {
        Self::wait(self, timeout)
            .map_err(|error| of_wait(&error).map_or(WorkError::NotYet, WorkError::Failed))
    }
}

fn layout(image: &Image) -> ImageLayout {
    let planes = image.planes();
    let mut layout = ImageLayout {
        modifier: image.modifier().into(),
        plane_count: u32::try_from(planes.len()).unwrap_or(u32::MAX).into(),
        ..ImageLayout::new_zeroed()
    };
    for (to, from) in layout.planes.iter_mut().zip(planes) {
        *to = plane(from);
    }
    layout
}

fn plane(plane: &PlaneLayout) -> Plane {
    Plane {
        offset: plane.offset.into(),
        pitch: plane.pitch.into(),
        size: plane.size.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn range_of_a_blob_ends_where_the_memory_of_the_device_does() {
        assert_eq!(within(&(0..8192), 5000), Some(0..5000));
        assert_eq!(within(&(64..128), 5000), Some(64..128));
        assert_eq!(within(&(5000..8192), 5000), None);
    }
}
