//! The QEMU process of one guest.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::VmError;
use super::qmp::{self, QmpError};

/// QEMU's own output, in the guest's folder.
pub const OUTPUT: &str = "qemu.log";
/// The guest's serial console, in the guest's folder.
pub const CONSOLE: &str = "console.log";
/// What is typed on the serial console, in the guest's folder.
pub const KEYS: &str = "keys";

/// How long QEMU may take to connect to its sockets; a back-end that does not answer keeps it from that.
const CONNECT: Duration = Duration::from_secs(60);

/// How long QEMU may take to end after it has been asked to, or has closed its sockets.
const END: Duration = Duration::from_secs(3);

/// How many lines of a log an error shows.
const TAIL: usize = 25;

/// A started QEMU, killed when dropped.
#[derive(Debug)]
pub struct Qemu {
    child: Mutex<Child>,
    /// Readable once the process has ended.
    gone: OwnedFd,
    pid: u32,
    dir: PathBuf,
}

impl Qemu {
    /// Takes over a started QEMU that logs to `dir`.
    pub fn new(mut child: Child, dir: &Path) -> Result<Self, VmError> {
        match pidfd_open(Pid::from_child(&child), PidfdFlags::empty()) {
            Ok(gone) => Ok(Self {
                gone,
                pid: child.id(),
                child: Mutex::new(child),
                dir: dir.to_owned(),
            }),
            Err(errno) => {
                // The first error is the one that counts.
                let _ = child.kill();
                let _ = child.wait();
                Err(VmError::io("watch QEMU")(errno.into()))
            }
        }
    }

    /// Its process id on the host.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether it is running.
    pub fn is_alive(&self) -> bool {
        matches!(self.child().try_wait(), Ok(None))
    }

    /// Its folder, with logs and sockets.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Waits until it connects to a socket it was told.
    pub fn connection(&self, listener: &UnixListener) -> Result<UnixStream, VmError> {
        let during = "the start of QEMU";
        let mut fds = [
            PollFd::new(listener, PollFlags::IN),
            PollFd::from_borrowed_fd(self.gone.as_fd(), PollFlags::IN),
        ];
        let ready = rustix::io::retry_on_intr(|| poll(&mut fds, Some(&timespec(CONNECT))))
            .map_err(|errno| VmError::io("wait for QEMU")(errno.into()))?;
        if ready == 0 {
            return Err(self.timeout(during, CONNECT));
        }
        if !fds[0].revents().contains(PollFlags::IN) {
            return Err(self.exited(during));
        }
        let (stream, _) = listener
            .accept()
            .map_err(VmError::io("accept QEMU's connection"))?;
        Ok(stream)
    }

    /// Waits a moment for its end, then kills it.
    pub fn end(&self) -> String {
        let mut fds = [PollFd::new(&self.gone, PollFlags::IN)];
        let ended = rustix::io::retry_on_intr(|| poll(&mut fds, Some(&timespec(END))));
        let mut child = self.child();
        if !matches!(ended, Ok(1..)) {
            // It may have ended this very moment.
            let _ = child.kill();
        }
        child
            .wait()
            .map_or_else(|error| error.to_string(), |status| status.to_string())
    }

    /// The error for its end in the middle of something.
    pub fn exited(&self, during: &str) -> VmError {
        VmError::Exited {
            status: self.end(),
            during: during.to_owned(),
            said: self.evidence(),
        }
    }

    /// The error for something that did not happen in time.
    pub fn timeout(&self, during: &str, waited: Duration) -> VmError {
        VmError::Timeout {
            during: during.to_owned(),
            waited,
            said: self.evidence(),
        }
    }

    /// The error for a monitor command that has no result.
    pub fn monitor_failed(&self, error: QmpError, during: &str) -> VmError {
        match error {
            QmpError::Closed => self.exited(during),
            QmpError::Silent => self.timeout(during, qmp::PATIENCE),
            QmpError::Io(source) => VmError::io(format!("run {during} in QEMU"))(source),
            QmpError::Refused(reason) => VmError::Refused {
                command: during.to_owned(),
                reason,
            },
        }
    }

    /// All of the guest's console.
    pub fn console(&self) -> String {
        let log = fs::read(self.dir.join(CONSOLE)).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// The end of the guest's console.
    pub fn console_tail(&self) -> String {
        last_lines(&self.console())
    }

    fn evidence(&self) -> String {
        let output = fs::read(self.dir.join(OUTPUT)).unwrap_or_default();
        let output = last_lines(&String::from_utf8_lossy(&output));
        format!("QEMU:\n{output}\nguest:\n{}", self.console_tail())
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        let mut child = self.child();
        // It may have ended already.
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// The end of a log, as much as an error should show.
pub fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL)..].join("\n")
}

fn timespec(timeout: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    }
}
