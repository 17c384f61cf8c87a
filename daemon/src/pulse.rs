//! A question that only a living thread answers.

use std::sync::atomic::{AtomicU64, Ordering};

use rustix::io::Errno;

use crate::reactor::Wake;

/// One thread asks, another answers with how far it has come.
#[derive(Debug)]
pub struct Pulse {
    asked: Wake,
    answered: Wake,
    position: AtomicU64,
}

impl Pulse {
    /// Nothing asked.
    ///
    /// # Errors
    /// The error of eventfd2.
    pub fn new() -> Result<Self, Errno> {
        Ok(Self {
            asked: Wake::new()?,
            answered: Wake::new()?,
            position: AtomicU64::new(0),
        })
    }

    /// Readable while a question waits.
    pub fn questions(&self) -> &Wake {
        &self.asked
    }

    /// Readable once there is an answer.
    pub fn answers(&self) -> &Wake {
        &self.answered
    }

    /// Asks.
    pub fn ask(&self) {
        self.asked.send();
    }

    /// Answers every question so far.
    pub fn answer(&self, position: u64) {
        self.asked.take();
        self.position.store(position, Ordering::Release);
        self.answered.send();
    }

    /// Takes the answer, or the latest one again if there is none. It may be to a question before
    /// the last.
    pub fn take_answer(&self) -> u64 {
        self.answered.take();
        self.position.load(Ordering::Acquire)
    }
}
