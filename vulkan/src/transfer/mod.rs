//! Copies and fills by the GPU.

mod error;

pub use error::{SyncFileError, TransferError, WaitError};

use std::os::fd::OwnedFd;
use std::time::Duration;

/// A transfer the GPU was given. What it uses lives until it is complete, even if this is dropped.
#[derive(Debug)]
pub struct Submission {}

impl Submission {
    /// Whether the transfer is complete.
    ///
    /// # Errors
    /// [`WaitError::Device`].
    pub fn is_done(&self) -> Result<bool, WaitError> {
        Ok(true)
    }

    /// Waits until the transfer is complete, at most for `timeout`.
    ///
    /// # Errors
    /// See [`WaitError`].
    pub fn wait(&self, timeout: Duration) -> Result<(), WaitError> {
        let _ = timeout;
        Ok(())
    }

    /// A sync file that polls readable when the transfer is complete; `None` if it is already and
    /// the driver makes no file for that.
    ///
    /// # Errors
    /// See [`SyncFileError`].
    pub fn sync_file(&self) -> Result<Option<OwnedFd>, SyncFileError> {
        Err(SyncFileError::Unsupported)
    }
}
