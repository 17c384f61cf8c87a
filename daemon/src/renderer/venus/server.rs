//! The render server's process.
//!
//! virglrenderer would start one by itself, and nobody would learn of its death. This one is our
//! child: it ends when its socket closes, and its end wakes the device thread.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Child, Command, Stdio};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use thiserror::Error;

use super::Host;

/// Why the render server did not start.
#[derive(Debug, Error)]
pub enum ServerError {
    /// It has no socket.
    #[error("the render server's socket: {0}")]
    Socket(rustix::io::Errno),
    /// It was not started, or cannot be watched.
    #[error("the render server: {0}")]
    Spawn(#[from] std::io::Error),
}

/// See the module's description.
#[derive(Debug)]
pub struct RenderServer {
    child: Child,
    pidfd: OwnedFd,
    dead: bool,
}

impl RenderServer {
    /// Starts the server and returns the socket on which virglrenderer speaks to it.
    ///
    /// # Errors
    /// See [`ServerError`].
    pub fn start(host: &Host) -> Result<(Self, OwnedFd), ServerError> {
        let (ours, theirs) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .map_err(ServerError::Socket)?;
        // Standard input is the one fd that a child inherits without further ado.
        let mut command = Command::new(host.server());
        host.apply(&mut command);
        let child = command
            .args(["--socket-fd", "0"])
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .spawn()?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| std::io::Error::other("it has no process id"))?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).map_err(std::io::Error::from)?;
        Ok((
            Self {
                child,
                pidfd,
                dead: false,
            },
            ours,
        ))
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Readable once the server is dead.
    pub fn death(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Whether the server was alive at the last look.
    pub fn is_alive(&self) -> bool {
        !self.dead
    }

    /// Collects the dead server and says how it ended.
    pub fn obituary(&mut self) -> String {
        self.dead = true;
        match self.child.wait() {
            Ok(status) => format!("the render server is dead ({status})"),
            Err(error) => format!("the render server is dead ({error})"),
        }
    }
}

impl Drop for RenderServer {
    fn drop(&mut self) {
        // virglrenderer closed its end of the socket, which asks the server to end; a server that
        // hangs in a driver does not hear that.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
