//! Starts the render server.
//!
//! The daemon may not start programs once it is confined, and the render server needs calls that
//! the daemon does not. So a process is set aside at the start, in the cage and with a policy of
//! its own: it waits for a socket and an environment, and becomes the render server.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Mutex;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::Pid;

use super::seccomp::{self, Policy};
use super::{CageError, message, namespace};

/// Room for the program and the variables.
const MESSAGE: usize = 64 << 10;

/// A process that will be the render server.
#[derive(Debug)]
pub struct Launcher {
    socket: OwnedFd,
    pid: Pid,
}

static LAUNCHER: Mutex<Option<Launcher>> = Mutex::new(None);

/// The launcher of this process, which is there once.
pub fn launcher() -> Option<Launcher> {
    LAUNCHER.lock().ok()?.take()
}

/// Sets a process aside.
pub(super) fn start() -> Result<(), CageError> {
    let kind = (AddressFamily::UNIX, SocketType::SEQPACKET);
    let (ours, theirs) = socketpair(kind.0, kind.1, SocketFlags::CLOEXEC, None)
        .map_err(|errno| CageError::Process(errno.into()))?;
    let Some(pid) = namespace::fork()? else {
        drop(ours);
        let error = become_server(&theirs);
        eprintln!("coherd: cannot start the render server: {error}");
        namespace::exit_now(1);
    };
    if let Ok(mut launcher) = LAUNCHER.lock() {
        *launcher = Some(Launcher { socket: ours, pid });
    }
    Ok(())
}

impl Launcher {
    /// Has the process execute `program` with `socket` as its standard input and `variables`
    /// added to its environment. It is a child of this process.
    ///
    /// # Errors
    /// The process is gone.
    pub fn launch<'a>(
        self,
        program: &OsStr,
        variables: impl Iterator<Item = (&'a OsStr, &'a OsStr)>,
        socket: BorrowedFd<'_>,
    ) -> io::Result<Pid> {
        let mut text = program.as_bytes().to_vec();
        for (name, value) in variables {
            text.push(0);
            text.extend([name.as_bytes(), b"=", value.as_bytes()].concat());
        }
        message::send(&self.socket, &text, Some(socket))?;
        Ok(self.pid)
    }
}

/// Tells the render server of its socket. Standard input is the one fd that a program inherits
/// without further ado.
pub fn give_socket(command: &mut Command, socket: OwnedFd) {
    command
        .args(["--socket-fd", "0"])
        .stdin(Stdio::from(socket))
        .stdout(Stdio::null());
}

/// Returns only if that fails.
fn become_server(socket: &OwnedFd) -> io::Error {
    let mut text = vec![0; MESSAGE];
    let (length, file) = match message::receive(socket, &mut text) {
        // The daemon ended without a need for a render server.
        Ok((0, _)) => namespace::exit_now(0),
        Ok(message) => message,
        Err(errno) => return errno.into(),
    };
    let mut words = text[..length].split(|byte| *byte == 0);
    let program = PathBuf::from(OsString::from_vec(words.next().unwrap_or(&[]).to_vec()));
    let Some(file) = file else {
        return io::ErrorKind::InvalidInput.into();
    };
    let mut command = Command::new(program);
    for word in words {
        if let Some(at) = word.iter().position(|byte| *byte == b'=') {
            command.env(
                OsStr::from_bytes(&word[..at]),
                OsStr::from_bytes(&word[at + 1..]),
            );
        }
    }
    give_socket(&mut command, file);
    if let Err(error) = seccomp::install(Policy::RenderServer) {
        return io::Error::other(error);
    }
    command.exec()
}
