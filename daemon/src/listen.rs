//! Where the front-end comes from: a socket path, or a socket that was handed down.

use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::io::Errno;
use rustix::net::sockopt;
use thiserror::Error;

use crate::socket_file::{SocketFile, Taken, make_free};

/// Why there is no socket.
#[derive(Debug, Error)]
pub enum ListenError {
    /// Another process listens on the path.
    #[error("{0} is in use: another process listens on it")]
    InUse(PathBuf),
    /// The path is taken by something that is not a socket.
    #[error("{0} exists and is not a socket: choose another --socket-path")]
    NotASocket(PathBuf),
    /// The socket could not be made.
    #[error("cannot listen on {path}")]
    Bind {
        /// The path.
        path: PathBuf,
        /// The error of bind or listen.
        source: std::io::Error,
    },
    /// The number is no unix stream socket.
    #[error("fd {fd} is not a unix stream socket: pass a listening or connected one with --fd")]
    NotStream {
        /// The number.
        fd: RawFd,
        /// Why.
        source: Errno,
    },
    /// No connection could be accepted.
    #[error("cannot accept a connection")]
    Accept(#[source] std::io::Error),
}

/// A socket that a front-end will talk to.
#[derive(Debug)]
pub enum Socket {
    /// Made here; the file is removed when this is dropped.
    Path(UnixListener, Arc<SocketFile>),
    /// Listening, handed down.
    Listening(UnixListener),
    /// Connected, handed down, until it is taken.
    Connected(Option<UnixStream>),
}

impl Socket {
    /// Listens on `path`. A socket file that nobody listens on is replaced.
    ///
    /// # Errors
    /// See [`ListenError`].
    pub fn bind(path: &Path) -> Result<Self, ListenError> {
        let _alone = make_free(path).map_err(|taken| match taken {
            Taken::InUse => ListenError::InUse(path.into()),
            Taken::NotASocket => ListenError::NotASocket(path.into()),
        })?;
        let failed = |source| ListenError::Bind {
            path: path.into(),
            source,
        };
        let listener = UnixListener::bind(path).map_err(failed)?;
        let file = SocketFile::of(path).map_err(|errno| failed(errno.into()))?;
        Ok(Self::Path(listener, Arc::new(file)))
    }

    /// Takes the inherited fd `fd`, listening or connected.
    ///
    /// # Errors
    /// [`ListenError::NotStream`]
    pub fn inherit(fd: RawFd) -> Result<Self, ListenError> {
        let not_stream = |source| ListenError::NotStream { fd, source };
        if fd < 0 {
            return Err(not_stream(Errno::BADF));
        }
        #[allow(unsafe_code, reason = "ownership of an inherited fd")]
        // SAFETY: the number was given to this process to be owned by it, and this is called once,
        // before any other fd is opened under it. Whether it is open is checked by the first use.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        match check_stream(&socket) {
            Ok(true) => Ok(Self::Listening(UnixListener::from(socket))),
            Ok(false) => Ok(Self::Connected(Some(UnixStream::from(socket)))),
            Err(source) => {
                // A number that is not open is not ours to close.
                std::mem::forget(socket);
                Err(not_stream(source))
            }
        }
    }

    /// The file, where it was made here.
    pub fn file(&self) -> Option<&Arc<SocketFile>> {
        match self {
            Self::Path(_, file) => Some(file),
            Self::Listening(_) | Self::Connected(_) => None,
        }
    }

    /// What becomes readable when a front-end connects; nothing if one is there, or was.
    pub fn listener(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Path(listener, _) | Self::Listening(listener) => Some(listener.as_fd()),
            Self::Connected(_) => None,
        }
    }

    /// Takes the front-end; waits until there is one.
    ///
    /// # Errors
    /// [`ListenError::Accept`]
    pub fn accept(&mut self) -> Result<UnixStream, ListenError> {
        match self {
            Self::Path(listener, _) | Self::Listening(listener) => listener
                .accept()
                .map(|(stream, _)| stream)
                .map_err(ListenError::Accept),
            Self::Connected(stream) => stream
                .take()
                .ok_or_else(|| ListenError::Accept(Errno::NOTCONN.into())),
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Some(file) = self.file() {
            file.remove();
        }
    }
}

fn check_stream(socket: &OwnedFd) -> Result<bool, Errno> {
    if sockopt::socket_domain(socket)? != rustix::net::AddressFamily::UNIX
        || sockopt::socket_type(socket)? != rustix::net::SocketType::STREAM
    {
        return Err(Errno::PROTOTYPE);
    }
    rustix::io::fcntl_setfd(socket, rustix::io::FdFlags::CLOEXEC)?;
    sockopt::socket_acceptconn(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::IntoRawFd;

    #[test]
    fn stale_socket_file_is_replaced_and_removed_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gpu.sock");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        drop(Socket::bind(&path).unwrap());
        assert!(!path.exists());
    }

    #[test]
    fn path_in_use_is_refused_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gpu.sock");
        let other = UnixListener::bind(&path).unwrap();
        assert!(matches!(Socket::bind(&path), Err(ListenError::InUse(_))));
        assert!(path.exists());
        // A daemon that serves one VMM would take the question for it.
        other.set_nonblocking(true).unwrap();
        assert!(other.accept().is_err(), "its owner was disturbed");
    }

    #[test]
    fn file_that_is_no_socket_is_refused_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        std::fs::write(&path, "precious").unwrap();
        assert!(matches!(
            Socket::bind(&path),
            Err(ListenError::NotASocket(_))
        ));
        assert!(path.exists());
    }

    #[test]
    fn inherited_sockets_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("s")).unwrap();
        assert!(matches!(
            Socket::inherit(listener.into_raw_fd()),
            Ok(Socket::Listening(_))
        ));
        let (ours, _theirs) = UnixStream::pair().unwrap();
        assert!(matches!(
            Socket::inherit(ours.into_raw_fd()),
            Ok(Socket::Connected(Some(_)))
        ));
    }

    #[test]
    fn number_that_is_no_socket_is_refused() {
        assert!(matches!(
            Socket::inherit(1 << 20),
            Err(ListenError::NotStream { .. })
        ));
        assert!(matches!(
            Socket::inherit(-1),
            Err(ListenError::NotStream { .. })
        ));
        let file = std::fs::File::open("/dev/null").unwrap();
        let fd = file.into_raw_fd();
        assert!(matches!(
            Socket::inherit(fd),
            Err(ListenError::NotStream { .. })
        ));
    }
}
