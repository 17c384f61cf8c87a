//! A file or pipe whose other end may do nothing, but not for ever.

use std::fs::File;
use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, OFlags, fcntl_getfl, fcntl_setfl, fstat};
use rustix::io::Errno;
use tracing::info;

use super::error::SnapshotError;
use super::progress::Progress;
use crate::size;
use crate::vhost_user::rings::Rings;

/// How long the other end may do nothing.
const LONGEST_STALL: Duration = Duration::from_secs(30);
/// Time between two looks at whether the device was started.
const SLICE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 50_000_000,
};
/// Time between two lines in the log.
const REPORT: Duration = Duration::from_secs(5);

/// See the module's description.
pub struct Stalling<'a> {
    file: File,
    /// Rings of which none may run meanwhile.
    rings: Option<&'a Rings>,
    progress: &'a Progress,
    reported: Instant,
    /// Nothing moves any more.
    is_over: bool,
}

impl<'a> Stalling<'a> {
    /// Reads or writes `file`. The transfer fails if the device is started that `rings` are of.
    ///
    /// # Errors
    /// The error of fcntl.
    pub fn new(file: File, rings: Option<&'a Rings>, progress: &'a Progress) -> io::Result<Self> {
        // A write to a pipe would wait for all of it.
        if FileType::from_raw_mode(fstat(&file)?.st_mode) != FileType::RegularFile {
            fcntl_setfl(&file, fcntl_getfl(&file)? | OFlags::NONBLOCK)?;
        }
        Ok(Self {
            file,
            rings,
            progress,
            reported: Instant::now(),
            is_over: false,
        })
    }

    fn transfer(
        &mut self,
        flags: PollFlags,
        mut attempt: impl FnMut(&mut File) -> io::Result<usize>,
    ) -> io::Result<usize> {
        if self.is_over {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.report();
        let done = self.wait(flags, &mut attempt);
        self.is_over = done.is_err();
        done
    }

    fn wait(
        &mut self,
        flags: PollFlags,
        attempt: &mut impl FnMut(&mut File) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let deadline = Instant::now() + LONGEST_STALL;
        loop {
            if self.rings.is_some_and(Rings::is_running) {
                return Err(io::Error::other(SnapshotError::Running));
            }
            let mut fds = [PollFd::new(&self.file, flags)];
            match poll(&mut fds, Some(&SLICE)) {
                Ok(0) => {}
                Ok(_) => match attempt(&mut self.file) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    done => return done,
                },
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            if Instant::now() >= deadline {
                return Err(io::Error::other(SnapshotError::Stalled(LONGEST_STALL)));
            }
        }
    }

    fn report(&mut self) {
        if self.reported.elapsed() >= REPORT {
            self.reported = Instant::now();
            let (done, total) = self.progress.get();
            info!(
                done = size::format(done),
                total = size::format(total),
                "state is on its way"
            );
        }
    }
}

impl Read for Stalling<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.transfer(PollFlags::IN, |file| file.read(into))
    }
}

impl Write for Stalling<'_> {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        self.transfer(PollFlags::OUT, |file| file.write(from))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
