//! epoll and eventfd, as the device thread waits on them.
//!
//! The thread sleeps without a time-out; whatever it has to do arrives as a readable fd.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};

/// Events taken per wake-up.
const BATCH: usize = 16;

/// A set of fds, each with a token.
#[derive(Debug)]
pub struct Reactor {
    epoll: OwnedFd,
}

impl Reactor {
    /// An empty set.
    ///
    /// # Errors
    /// The error of epoll_create1.
    pub fn new() -> Result<Self, Errno> {
        Ok(Self {
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
        })
    }

    /// Watches `fd` for input.
    ///
    /// # Errors
    /// The error of epoll_ctl.
    pub fn add(&self, fd: impl AsFd, token: u64) -> Result<(), Errno> {
        epoll::add(&self.epoll, fd, EventData::new_u64(token), EventFlags::IN)
    }

    /// Watches `fd` for `flags` instead of what it was watched for.
    ///
    /// # Errors
    /// The error of epoll_ctl.
    pub fn change(&self, fd: impl AsFd, token: u64, flags: EventFlags) -> Result<(), Errno> {
        epoll::modify(&self.epoll, fd, EventData::new_u64(token), flags)
    }

    /// Stops watching `fd`; one that is not watched is no error.
    pub fn remove(&self, fd: impl AsFd) {
        let _ = epoll::delete(&self.epoll, fd);
    }

    /// Sleeps until a watched fd is readable and replaces `tokens` by those of the readable ones.
    ///
    /// # Errors
    /// The error of epoll_wait, which is not interrupted by signals.
    pub fn wait(&self, tokens: &mut Vec<u64>) -> Result<(), Errno> {
        tokens.clear();
        self.wait_until(None, |token, _| tokens.push(token))
    }

    /// Sleeps until something happens to a watched fd, or until `deadline`, and tells `found` of
    /// the token and of what happened.
    ///
    /// # Errors
    /// The error of epoll_wait, which is not interrupted by signals.
    pub fn wait_until(
        &self,
        deadline: Option<Instant>,
        mut found: impl FnMut(u64, EventFlags),
    ) -> Result<(), Errno> {
        let mut events = [MaybeUninit::<Event>::uninit(); BATCH];
        loop {
            let left = deadline.map(|deadline| {
                let left = deadline.saturating_duration_since(Instant::now());
                // Rounded up: what is to happen then is not due before.
                let millis = left.as_nanos().div_ceil(1_000_000);
                Timespec {
                    tv_sec: i64::try_from(millis / 1000).unwrap_or(i64::MAX),
                    tv_nsec: i64::try_from(millis % 1000).unwrap_or(0) * 1_000_000,
                }
            });
            match epoll::wait(&self.epoll, &mut events, left.as_ref()) {
                Ok((ready, _)) => {
                    for event in ready.iter() {
                        found(event.data.u64(), event.flags);
                    }
                    return Ok(());
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Readable while a watched fd is.
impl AsFd for Reactor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

/// An eventfd of our own, to wake a thread.
#[derive(Debug)]
pub struct Wake {
    fd: OwnedFd,
}

impl Wake {
    /// A wake-up that has not been sent.
    ///
    /// # Errors
    /// The error of eventfd2.
    pub fn new() -> Result<Self, Errno> {
        Ok(Self {
            fd: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        })
    }

    /// Wakes the waiter.
    pub fn send(&self) {
        signal(self.fd.as_fd());
    }

    /// Takes every wake-up sent so far.
    pub fn take(&self) {
        drain(self.fd.as_fd());
    }
}

impl AsFd for Wake {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A clock that is readable after each period, while it runs.
#[derive(Debug)]
pub struct Ticker {
    fd: OwnedFd,
}

impl Ticker {
    /// A clock that stands still.
    ///
    /// # Errors
    /// The error of timerfd_create.
    pub fn new() -> Result<Self, Errno> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        Ok(Self {
            fd: timerfd_create(TimerfdClockId::Monotonic, flags)?,
        })
    }

    /// Ticks from now on with this period, or, without one, no more.
    ///
    /// # Errors
    /// The error of timerfd_settime.
    pub fn set(&self, period: Option<Duration>) -> Result<(), Errno> {
        let period = period.unwrap_or_default();
        let period = Timespec {
            tv_sec: i64::try_from(period.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: period.subsec_nanos().into(),
        };
        let timer = Itimerspec {
            it_interval: period,
            it_value: period,
        };
        timerfd_settime(&self.fd, TimerfdTimerFlags::empty(), &timer).map(drop)
    }

    /// Takes every tick so far.
    pub fn take(&self) {
        let _ = rustix::io::read(&self.fd, &mut [0u8; 8]);
    }
}

impl AsFd for Ticker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Adds one to an eventfd. Failure means that its counter is at the maximum, so that the other
/// side is woken anyway.
pub fn signal(fd: BorrowedFd<'_>) {
    if is_ready(fd, PollFlags::OUT) {
        let _ = rustix::io::write(fd, &1u64.to_ne_bytes());
    }
}

/// Whether a poll for `event` would not wait.
fn is_ready(fd: BorrowedFd<'_>, event: PollFlags) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(fd, event)];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    matches!(poll(&mut fds, Some(&now)), Ok(1))
}

/// Zeroes an eventfd that may be in blocking mode. `false` if it is none and has hung up, so that
/// it would wake its waiter for ever.
pub fn drain(fd: BorrowedFd<'_>) -> bool {
    if !is_ready(fd, PollFlags::IN) {
        return true;
    }
    match rustix::io::read(fd, &mut [0u8; 8]) {
        Ok(count) => count > 0,
        Err(error) => matches!(error, Errno::AGAIN | Errno::INTR),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn eventfd_can_be_drained_whether_it_was_signalled_or_not() {
        let wake = Wake::new().unwrap();
        wake.send();
        assert!(drain(wake.as_fd()));
        assert!(drain(wake.as_fd()));
    }

    #[test]
    fn socket_without_a_peer_cannot_be_drained() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        assert!(drain(ours.as_fd()));
        drop(theirs);
        assert!(!drain(ours.as_fd()));
    }
}
