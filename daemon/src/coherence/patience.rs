//! How long to wait for a GPU.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use thiserror::Error;

/// Longest time between two looks at whether anybody still waits.
const SLICE: Duration = Duration::from_millis(50);

/// Why a wait ends without what it waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PatienceError {
    /// The deadline has passed.
    #[error("the GPU did not finish in time")]
    TimedOut,
    /// Nobody waits any more.
    #[error("nobody waits any more")]
    Cancelled,
}

/// A deadline, and a way to give up before it.
#[derive(Clone, Copy, Debug)]
pub struct Patience<'a> {
    deadline: Instant,
    cancelled: Option<&'a AtomicBool>,
}

impl<'a> Patience<'a> {
    /// Waits until `deadline`.
    pub fn until(deadline: Instant) -> Self {
        Self {
            deadline,
            cancelled: None,
        }
    }

    /// Waits for so long, or until `cancelled` is set.
    pub fn cancellable(timeout: Duration, cancelled: &'a AtomicBool) -> Self {
        Self {
            deadline: Instant::now() + timeout,
            cancelled: Some(cancelled),
        }
    }

    /// When it ends.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// How long to wait before asking again.
    ///
    /// # Errors
    /// See [`PatienceError`].
    pub fn slice(&self) -> Result<Duration, PatienceError> {
        if self
            .cancelled
            .is_some_and(|set| set.load(Ordering::Relaxed))
        {
            return Err(PatienceError::Cancelled);
        }
        match self.deadline.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(PatienceError::TimedOut),
            left => Ok(left.min(SLICE)),
        }
    }
}
