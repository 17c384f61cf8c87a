//! The render server's process.
//!
//! virglrenderer would start one by itself, and nobody would learn of its death. This one is our
//! child: it ends when its socket closes, and its end wakes the device thread.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::Command;

use rustix::io::{Errno, retry_on_intr};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, WaitStatus, pidfd_open, pidfd_send_signal, waitpid,
};
use thiserror::Error;

use super::Host;
use crate::cage;

/// Why the render server did not start.
#[derive(Debug, Error)]
pub enum ServerError {
    /// It has no socket.
    #[error("the render server's socket: {0}")]
    Socket(Errno),
    /// It was not started, or cannot be watched.
    #[error("the render server: {0}")]
    Spawn(#[from] std::io::Error),
}

/// See the module's description.
#[derive(Debug)]
pub struct RenderServer {
    pid: Pid,
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
        let mut command = Command::new(host.server());
        host.apply(&mut command);
        let pid = match cage::launcher() {
            Some(launcher) => {
                let variables = command.get_envs();
                let variables = variables.filter_map(|(name, value)| Some((name, value?)));
                launcher.launch(command.get_program(), variables, theirs.as_fd())?
            }
            None => spawn(command, theirs)?,
        };
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).map_err(std::io::Error::from)?;
        Ok((
            Self {
                pid,
                pidfd,
                dead: false,
            },
            ours,
        ))
    }

    /// Its process id.
    pub fn id(&self) -> Pid {
        self.pid
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
        match self.collect() {
            Ok(status) => format!("the render server is dead ({})", end_of(status)),
            Err(error) => format!("the render server is dead ({error})"),
        }
    }

    fn collect(&mut self) -> Result<WaitStatus, Errno> {
        self.dead = true;
        let waited = retry_on_intr(|| waitpid(Some(self.pid), WaitOptions::empty()))?;
        waited.map(|(_, status)| status).ok_or(Errno::CHILD)
    }
}

impl Drop for RenderServer {
    fn drop(&mut self) {
        // virglrenderer closed its end of the socket, which asks the server to end; a server that
        // hangs in a driver does not hear that.
        if !self.dead {
            let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
            let _ = self.collect();
        }
    }
}

fn spawn(mut command: Command, socket: OwnedFd) -> std::io::Result<Pid> {
    cage::give_socket(&mut command, socket);
    Ok(Pid::from_child(&command.spawn()?))
}

fn end_of(status: WaitStatus) -> String {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "it did not say how".to_owned(),
    }
}
