//! Images whose layout other devices and processes know.

mod create;
mod error;
mod format;
mod handle;
mod modifiers;
mod request;

use coherd_protocol::blob_context::command::ImageUsage;

use crate::memory::Allocation;

pub use error::ImageError;
pub use request::ImageRequest;

pub(crate) use create::create;
pub(crate) use handle::ImageHandle;
pub(crate) use modifiers::{Candidate, candidates};

/// A format and modifier of which the device makes images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FormatModifier {
    /// Format, `drm_fourcc.h`.
    pub fourcc: u32,
    /// Modifier, `drm_fourcc.h`.
    pub modifier: u64,
    /// Memory planes.
    pub planes: u32,
    /// What images of it can be used for.
    pub usage: ImageUsage,
    /// Whether images of it can be exported as dma-buf.
    pub exportable: bool,
}

/// Where a memory plane is in the memory of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlaneLayout {
    /// Bytes from the start of the memory.
    pub offset: u64,
    /// Bytes from row to row.
    pub pitch: u64,
    /// Bytes.
    pub size: u64,
}

/// An image and its memory.
#[derive(Clone, Debug)]
pub struct Image {
    allocation: Allocation,
    modifier: u64,
    planes: Vec<PlaneLayout>,
}

impl Image {
    pub(crate) fn new(allocation: Allocation, modifier: u64, planes: Vec<PlaneLayout>) -> Self {
        Self {
            allocation,
            modifier,
            planes,
        }
    }

    /// The modifier the driver chose, `drm_fourcc.h`.
    pub fn modifier(&self) -> u64 {
        self.modifier
    }

    /// Its memory planes, 1 to 4.
    pub fn planes(&self) -> &[PlaneLayout] {
        &self.planes
    }

    /// Its memory. The GPU copies and fills it as bytes if the modifier is linear and the driver
    /// does not want memory of the image's own; else that is
    /// [`TransferError::Unsupported`](crate::transfer::TransferError::Unsupported).
    pub fn allocation(&self) -> &Allocation {
        &self.allocation
    }

    /// Its memory, which keeps the image.
    pub fn into_allocation(self) -> Allocation {
        self.allocation
    }
}
