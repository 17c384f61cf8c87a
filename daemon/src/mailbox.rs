//! A value that one thread leaves for another.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

use crate::reactor::Wake;

/// Holds the latest value until it is taken. Readable when there is one.
#[derive(Debug)]
pub struct Mailbox<T> {
    value: Mutex<Option<T>>,
    wake: Wake,
}

impl<T> Mailbox<T> {
    /// An empty mailbox.
    ///
    /// # Errors
    /// The error of eventfd2.
    pub fn new() -> Result<Self, Errno> {
        Ok(Self {
            value: Mutex::new(None),
            wake: Wake::new()?,
        })
    }

    /// Leaves a value. One that was not taken is dropped.
    pub fn put(&self, value: T) {
        *self.lock() = Some(value);
        self.wake.send();
    }

    /// Takes the value.
    pub fn take(&self) -> Option<T> {
        self.wake.take();
        self.lock().take()
    }

    fn lock(&self) -> MutexGuard<'_, Option<T>> {
        self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> AsFd for Mailbox<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    fn is_readable<T>(mailbox: &Mailbox<T>) -> bool {
        let at_once = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        poll(&mut [PollFd::new(mailbox, PollFlags::IN)], Some(&at_once)) == Ok(1)
    }

    #[test]
    fn latest_value_is_taken_once() {
        let mailbox = Mailbox::new().unwrap();
        assert!(!is_readable(&mailbox));
        mailbox.put(1);
        mailbox.put(2);
        assert!(is_readable(&mailbox));
        assert_eq!(mailbox.take(), Some(2));
        assert!(!is_readable(&mailbox));
        assert_eq!(mailbox.take(), None);
    }
}
