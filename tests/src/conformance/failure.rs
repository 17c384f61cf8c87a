//! Why a case did not pass.

use std::time::Duration;

use coherd::explain::one_line;
use rustix::io::Errno;
use thiserror::Error;

use crate::driver::{DriverError, VirtqueueError};
use crate::frontend::{Fault, FrontendError, WindowError};

/// Why a case did not pass.
#[derive(Debug, Error)]
pub enum Failure {
    /// The device did something else than it must.
    #[error("{0}")]
    Wrong(String),
    /// The device refused, as it may, what the case is about.
    #[error("{0}")]
    Unsupported(String),
    /// The backend's process is gone.
    #[error("backend hung up at {0}")]
    HungUp(String),
    /// A command was not answered before the case's time was over.
    #[error("no answer to {what} within {} s", waited.as_secs())]
    NoAnswer {
        /// What was sent.
        what: String,
        /// How long a case may take.
        waited: Duration,
    },
    /// A VMM would not have survived the backend's requests.
    #[error("VMM is dead: {0}")]
    Fault(#[from] Fault),
    /// The driver failed.
    #[error("driver failed")]
    Driver(#[from] DriverError),
    /// The front-end failed.
    #[error("front-end failed")]
    Frontend(#[from] FrontendError),
    /// The window is not what it should be.
    #[error("window failed")]
    Window(#[from] WindowError),
    /// An event file descriptor failed.
    #[error("event file descriptor failed")]
    Event(#[from] Errno),
}

impl From<VirtqueueError> for Failure {
    fn from(error: VirtqueueError) -> Self {
        Self::Driver(error.into())
    }
}

impl Failure {
    /// The failure with its causes in one line.
    pub fn explain(&self) -> String {
        one_line(self)
    }
}

/// Fails unless `right`, with what is wrong.
pub fn ensure(right: bool, wrong: impl FnOnce() -> String) -> Result<(), Failure> {
    if right {
        Ok(())
    } else {
        Err(Failure::Wrong(wrong()))
    }
}
