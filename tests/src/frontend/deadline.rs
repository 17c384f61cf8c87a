//! Points in time after which a wait gives up.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// A point in time after which a wait gives up.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

impl Deadline {
    /// The moment `duration` from now.
    pub fn after(duration: Duration) -> Self {
        Self(Instant::now() + duration)
    }

    /// The time left, zero once the moment has passed.
    pub fn remaining(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// Whether the moment has passed.
    pub fn passed(self) -> bool {
        self.remaining().is_zero()
    }

    /// Waits until `fd` has bytes or its peer hung up; `false` if the deadline passed first.
    ///
    /// # Errors
    /// What `poll` reports.
    pub fn readable(self, fd: impl AsFd) -> Result<bool, Errno> {
        self.ready(&mut [PollFd::new(&fd, PollFlags::IN)])
    }

    /// Waits until `fd` takes bytes or its peer hung up; `false` if the deadline passed first.
    ///
    /// # Errors
    /// What `poll` reports.
    pub fn writable(self, fd: impl AsFd) -> Result<bool, Errno> {
        self.ready(&mut [PollFd::new(&fd, PollFlags::OUT)])
    }

    fn ready(self, fds: &mut [PollFd<'_>]) -> Result<bool, Errno> {
        loop {
            let timeout = Timespec::try_from(self.remaining()).map_err(|_| Errno::INVAL)?;
            match poll(fds, Some(&timeout)) {
                Err(Errno::INTR) => {}
                result => return result.map(|ready| ready > 0),
            }
        }
    }
}
