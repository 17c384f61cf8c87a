//! Backends under test: one that listens already, a program to start, or one in this process.

use std::any::Any;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use thiserror::Error;

/// In an argument of a command this stands for the path where it has to listen.
const SOCKET: &str = "{socket}";

/// How long a program may take until it listens: a loaded host takes seconds to start a driver.
const START: Duration = Duration::from_secs(60);
/// How long a program that hung up may take until it is gone.
const END: Duration = Duration::from_secs(2);

/// Why there is no backend.
#[derive(Debug, Error)]
pub enum TargetError {
    /// Nobody listens.
    #[error("nobody listens at {}", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The program could not be started.
    #[error("{program:?} could not be started")]
    Start {
        /// The program.
        program: OsString,
        /// What the system said.
        source: io::Error,
    },
    /// The program ended before it listened.
    #[error("backend does not listen: {0}")]
    Ended(String),
    /// A folder for the socket could not be made.
    #[error("no folder for the socket")]
    Folder(#[source] io::Error),
    /// A backend in this process did not come up.
    #[error("backend does not start: {0}")]
    InProcess(String),
    /// There is no command line.
    #[error("no program to start")]
    NoProgram,
}

/// When a backend gives way to a fresh one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// Never: what comes after its death is not run.
    Never,
    /// When it is dead or does not answer.
    WhenDead,
    /// Before each case.
    EachCase,
}

/// A connection, and what has to live as long.
#[derive(Debug)]
pub struct Connected {
    /// The connection.
    pub stream: UnixStream,
    /// The backend, if it is ours.
    pub backend: Backend,
}

/// A backend that is connected to.
#[derive(Debug)]
pub enum Backend {
    /// Somebody else's.
    Foreign,
    /// A program that was started.
    Process(Process),
    /// One in this process, ended when it is dropped.
    InProcess(Box<dyn Any>),
}

impl Backend {
    /// How it ended and what it said last, where that can be known.
    pub fn last_words(&mut self) -> Option<String> {
        match self {
            Self::Process(process) => Some(process.last_words()),
            Self::Foreign | Self::InProcess(_) => None,
        }
    }
}

type Connect = Box<dyn FnMut() -> Result<Connected, TargetError>>;

/// Where backends come from.
pub struct Target {
    connect: Connect,
    renewal: Renewal,
}

impl Target {
    /// The backend that listens at `path`, for one connection.
    pub fn socket(path: &Path) -> Self {
        let path = path.to_owned();
        Self::new(Renewal::Never, move || {
            let stream = UnixStream::connect(&path).map_err(|source| TargetError::Connect {
                path: path.clone(),
                source,
            })?;
            Ok(Connected {
                stream,
                backend: Backend::Foreign,
            })
        })
    }

    /// A program that is started as often as is needed, with `{socket}` in its arguments replaced
    /// by the path where it has to listen.
    ///
    /// # Errors
    /// [`TargetError::Folder`]
    pub fn command(command: Vec<OsString>, renewal: Renewal) -> Result<Self, TargetError> {
        let folder = tempfile::tempdir().map_err(TargetError::Folder)?;
        let mut number = 0;
        Ok(Self::new(renewal, move || {
            number += 1;
            let (process, stream) = Process::start(&command, &folder, number)?;
            Ok(Connected {
                stream,
                backend: Backend::Process(process),
            })
        }))
    }

    /// Backends that `connect` makes.
    pub fn new(
        renewal: Renewal,
        connect: impl FnMut() -> Result<Connected, TargetError> + 'static,
    ) -> Self {
        Self {
            connect: Box::new(connect),
            renewal,
        }
    }

    /// When to renew the backend.
    pub fn renewal(&self) -> Renewal {
        self.renewal
    }

    /// Connects to a backend.
    ///
    /// # Errors
    /// See [`TargetError`].
    pub fn connect(&mut self) -> Result<Connected, TargetError> {
        (self.connect)()
    }
}

/// A backend's process, killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    socket: PathBuf,
    log: PathBuf,
}

impl Process {
    fn start(
        command: &[OsString],
        folder: &TempDir,
        number: u32,
    ) -> Result<(Self, UnixStream), TargetError> {
        let (program, arguments) = command.split_first().ok_or(TargetError::NoProgram)?;
        let socket = folder.path().join(format!("{number}.sock"));
        let log = folder.path().join(format!("{number}.log"));
        let output = File::create(&log).map_err(TargetError::Folder)?;
        let path = socket.to_string_lossy();
        let argument = |text: &OsString| text.to_string_lossy().replace(SOCKET, &path);
        let child = Command::new(program)
            .args(arguments.iter().map(argument))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(output)
            .spawn()
            .map_err(|source| TargetError::Start {
                program: program.clone(),
                source,
            })?;
        let mut process = Self { child, socket, log };
        let stream = process.connect()?;
        Ok((process, stream))
    }

    fn connect(&mut self) -> Result<UnixStream, TargetError> {
        let deadline = Instant::now() + START;
        loop {
            match UnixStream::connect(&self.socket) {
                Ok(stream) => return Ok(stream),
                Err(source) if Instant::now() >= deadline => {
                    return Err(TargetError::Connect {
                        path: self.socket.clone(),
                        source,
                    });
                }
                Err(_) => {}
            }
            if !matches!(self.child.try_wait(), Ok(None)) {
                return Err(TargetError::Ended(self.last_words()));
            }
            pause();
        }
    }

    /// How it ended and what it said last.
    fn last_words(&mut self) -> String {
        let deadline = Instant::now() + END;
        let status = loop {
            match self.child.try_wait() {
                Ok(Some(status)) => break status.to_string(),
                Ok(None) if Instant::now() < deadline => pause(),
                _ => break "it still runs".to_owned(),
            }
        };
        let log = fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        match log.lines().rfind(|line| !line.trim().is_empty()) {
            Some(line) => format!("{status}, it said {:?}", message(line)),
            None => status,
        }
    }
}

/// A line of a log without what GLib puts before it, program, process and time, which differ from
/// run to run.
fn message(line: &str) -> &str {
    let after_level = line.split_once(" **: ").map(|(_, rest)| rest);
    let after_time = after_level.and_then(|rest| rest.split_once(": "));
    after_time.map_or(line, |(_, text)| text).trim()
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // A backend that just began to listen may still look at its socket's file, so not before.
        let _ = fs::remove_file(&self.socket);
        let _ = fs::remove_file(&self.log);
    }
}

/// Another process has no event to wait on.
fn pause() {
    std::thread::sleep(Duration::from_millis(10));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefix_of_glib_is_left_out_and_nothing_else() {
        let line = "** (vhost-user-gpu:21): CRITICAL **: 12:54:53.166: virtio: too long";
        assert_eq!(message(line), "virtio: too long");
        assert_eq!(message("error: no socket"), "error: no socket");
        assert_eq!(message(" **: "), "**:");
    }
}
