//! What can go wrong with a piece of memory.

use coherd_blob::BackingError;
use coherd_vulkan::memory::{AccessError, AllocateError, ExportError, ImportError};
use coherd_vulkan::transfer::{TransferError, WaitError};
use rustix::io::Errno;
use thiserror::Error;

/// Why a piece of memory cannot be examined.
#[derive(Debug, Error)]
pub enum MemoryError {
    /// It was not allocated.
    #[error("cannot allocate the memory")]
    Allocate(#[from] AllocateError),
    /// It was not imported.
    #[error("cannot import the memory")]
    Import(#[from] ImportError),
    /// It was not exported.
    #[error("cannot export the memory")]
    Export(#[from] ExportError),
    /// Its file is not fit for others.
    #[error("cannot use the memory's file")]
    Backing(#[from] BackingError),
    /// This process cannot access it.
    #[error("cannot access the memory")]
    Access(#[from] AccessError),
    /// Its file cannot be mapped.
    #[error("cannot map the memory's file")]
    Map(#[source] Errno),
    /// Its file's bracket cannot be begun or ended.
    #[error("cannot bracket an access to the memory's file")]
    Sync(#[source] Errno),
    /// It has no file.
    #[error("memory is not shared by a file")]
    NoFile,
    /// The GPU was not given the work.
    #[error("GPU does not take the work")]
    Transfer(#[from] TransferError),
    /// The GPU has not done the work.
    #[error("GPU has not done the work")]
    Wait(#[from] WaitError),
}
