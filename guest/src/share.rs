//! Allocations in more than one context.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;

use thiserror::Error;

use crate::allocation::Allocation;
use crate::blob::Blob;
use crate::context::{CallError, Context};

/// Why an allocation is not shared.
#[derive(Debug, Error)]
pub enum ShareError {
    /// The kernel does not export it.
    #[error("cannot export the allocation")]
    Export(#[source] io::Error),
    /// The kernel does not take the file: it is no dma-buf, or not of this device.
    #[error(
        "cannot import the file; only what a virtio-gpu context of this device exported can be"
    )]
    Import(#[source] io::Error),
    /// The host does not have it as memory of a blob context.
    #[error("what was imported is not memory of a blob context")]
    Host(#[source] CallError),
}

impl Allocation {
    /// A dma-buf of it, which other contexts of this device import: by [`Context::import`], or a
    /// Venus context by `VkImportMemoryFdInfoKHR` if [`Host::dma_buf`](crate::Host::dma_buf) is
    /// set. It should have been allocated as shareable. The guest's `DMA_BUF_IOCTL_SYNC` does
    /// nothing for it; brackets stay necessary where its memory type needs them.
    ///
    /// # Errors
    /// [`ShareError::Export`]
    pub fn export(&self) -> Result<OwnedFd, ShareError> {
        let blob = &self.blob;
        let exported = blob.shared.transport.export(blob.handle.handle);
        exported.map_err(ShareError::Export)
    }
}

impl Context {
    /// An allocation of another context of this device, exported by [`Allocation::export`]. It is
    /// the same memory.
    ///
    /// # Errors
    /// [`ShareError`]
    pub fn import(&self, file: BorrowedFd<'_>) -> Result<Allocation, ShareError> {
        let handle = self
            .shared
            .handles
            .import(file)
            .map_err(ShareError::Import)?;
        let blob = Blob::adopt(&self.shared, handle).map_err(ShareError::Host)?;
        Ok(Allocation {
            blob: Arc::new(blob),
        })
    }
}
