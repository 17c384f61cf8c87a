//! Event file descriptors: kicks, calls and the wake-up of the back-channel thread.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{Errno, read, write};

/// A non-blocking eventfd.
#[derive(Debug)]
pub struct Event(OwnedFd);

impl Event {
    /// An event that was not signalled.
    ///
    /// # Errors
    /// What `eventfd` reports.
    pub fn new() -> Result<Self, Errno> {
        eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).map(Self)
    }

    /// Adds one to the counter.
    ///
    /// # Errors
    /// What `write` reports.
    pub fn signal(&self) -> Result<(), Errno> {
        write(&self.0, &1u64.to_ne_bytes()).map(drop)
    }

    /// Sets the counter to zero and returns what it was.
    ///
    /// # Errors
    /// What `read` reports, an empty counter aside.
    pub fn take(&self) -> Result<u64, Errno> {
        let mut count = [0; 8];
        match read(&self.0, &mut count) {
            Ok(_) => Ok(u64::from_ne_bytes(count)),
            Err(Errno::AGAIN) => Ok(0),
            Err(error) => Err(error),
        }
    }
}

impl AsFd for Event {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
