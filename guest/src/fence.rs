//! Waiting for a fence.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// Waits until a file becomes readable; whether it did in time.
pub(crate) fn wait(file: &impl AsFd, timeout: Duration) -> io::Result<bool> {
    let deadline = Instant::now().checked_add(timeout);
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        let mut files = [PollFd::new(file, PollFlags::IN)];
        match poll(&mut files, left.as_ref()) {
            Ok(0) => return Ok(false),
            Ok(_) => return Ok(true),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{EventfdFlags, eventfd};
    use rustix::io::write;

    #[test]
    fn wait_tells_whether_the_file_became_readable() {
        let file = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
        assert!(!wait(&file, Duration::from_millis(1)).unwrap());
        write(&file, &1u64.to_ne_bytes()).unwrap();
        assert!(wait(&file, Duration::ZERO).unwrap());
        assert!(wait(&file, Duration::MAX).unwrap());
    }
}
