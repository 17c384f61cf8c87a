//! A transfer the GPU was given.

use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use crate::transfer::completion::Ticket;
use crate::transfer::queue::{Queue, Submitted};
use crate::transfer::sync_file::SyncSemaphore;
use crate::transfer::{SyncFileError, WaitError};

/// A transfer the GPU was given. What it uses lives until it is complete, even if this is dropped.
pub struct Submission {
    queue: Arc<Queue>,
    ticket: Ticket,
    sync: Option<Arc<SyncSemaphore>>,
}

impl Submission {
    pub(crate) fn new(queue: &Arc<Queue>, submitted: Submitted) -> Self {
        Self {
            queue: queue.clone(),
            ticket: submitted.ticket,
            sync: submitted.sync,
        }
    }

    /// Whether the transfer is complete.
    ///
    /// # Errors
    /// [`WaitError::Device`].
    pub fn is_done(&self) -> Result<bool, WaitError> {
        Ok(self.queue.is_done(&self.ticket)?)
    }

    /// Waits until the transfer is complete, at most for `timeout`.
    ///
    /// # Errors
    /// See [`WaitError`].
    pub fn wait(&self, timeout: Duration) -> Result<(), WaitError> {
        self.queue.wait(&self.ticket, timeout)
    }

    /// A sync file that polls readable when the transfer is complete; `None` if it is already and
    /// the driver makes no file for that.
    ///
    /// # Errors
    /// See [`SyncFileError`].
    pub fn sync_file(&self) -> Result<Option<OwnedFd>, SyncFileError> {
        let sync = self.sync.as_ref().ok_or(SyncFileError::Unsupported)?;
        sync.file()
    }
}

impl fmt::Debug for Submission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Submission")
            .field("ticket", &self.ticket)
            .finish_non_exhaustive()
    }
}
