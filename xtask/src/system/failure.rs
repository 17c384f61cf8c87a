//! Why a case fails.

use std::io;
use std::time::Duration;

use crate::coherd::CoherdError;
use crate::lab::LabError;
use crate::vm::VmError;

/// Why a case fails.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The virtual machine does not work.
    #[error(transparent)]
    Vm(#[from] VmError),
    /// coherd does not work.
    #[error(transparent)]
    Coherd(#[from] CoherdError),
    /// The lab does not work.
    #[error(transparent)]
    Lab(#[from] LabError),
    /// A file or a process could not be handled.
    #[error("cannot {action}")]
    Io {
        /// What was tried.
        action: String,
        /// What the system said.
        source: io::Error,
    },
    /// A program had another result than it should.
    #[error("{program} ended with status {status}, {expected} was expected; it said last:\n{said}")]
    Program {
        /// Its command line.
        program: String,
        /// How it ended.
        status: i32,
        /// How it should have ended.
        expected: &'static str,
        /// The end of its output.
        said: String,
    },
    /// Something did not come to be in time.
    #[error("{what} was waited for in vain for {} s; at last {state}", waited.as_secs())]
    Never {
        /// What was waited for.
        what: String,
        /// For how long.
        waited: Duration,
        /// How things stood in the end.
        state: String,
    },
    /// A check of something else found what should not be.
    #[error("{0}")]
    Wrong(String),
}

impl Failure {
    /// Wraps an [`io::Error`] with what was tried.
    pub fn io(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let action = action.into();
        move |source| Self::Io { action, source }
    }

    /// Whether something did not happen, rather than went wrong.
    pub fn is_a_hang(&self) -> bool {
        matches!(self, Self::Never { .. } | Self::Vm(VmError::Timeout { .. }))
    }
}

/// Fails unless `met`, with what was found instead.
pub fn expect(met: bool, found: impl FnOnce() -> String) -> Result<(), Failure> {
    if met {
        Ok(())
    } else {
        Err(Failure::Wrong(found()))
    }
}
