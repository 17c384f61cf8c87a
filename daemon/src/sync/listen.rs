//! Where peers come from: a socket path, or a socket that was handed down.

use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, listen, socket_with,
    sockopt,
};
use thiserror::Error;

use crate::socket_file::{SocketFile, Taken, make_free};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 64;

/// Why there is no sync socket.
#[derive(Debug, Error)]
pub enum SyncListenError {
    /// Another process listens on the path.
    #[error("{0} is in use: another process listens on it")]
    InUse(PathBuf),
    /// The path is taken by something that is not a socket.
    #[error("{0} exists and is not a socket: choose another --sync-socket")]
    NotASocket(PathBuf),
    /// The socket could not be made.
    #[error("cannot listen on {path}")]
    Bind {
        /// The path.
        path: PathBuf,
        /// What the kernel said.
        source: Errno,
    },
    /// The number is no unix socket for datagrams in sequence that listens.
    #[error("fd {fd} is not a listening SOCK_SEQPACKET unix socket: pass one with --sync-fd")]
    NotListening {
        /// The number.
        fd: RawFd,
        /// Why.
        source: Errno,
    },
}

/// A socket that peers connect to. A path that was made here is removed when it is dropped.
#[derive(Debug)]
pub struct SyncSocket {
    fd: OwnedFd,
    file: Option<Arc<SocketFile>>,
}

impl SyncSocket {
    /// Listens on `path`, whose mode is 0660 less the umask. A socket file that nobody listens on
    /// is replaced.
    ///
    /// # Errors
    /// See [`SyncListenError`].
    pub fn bind(path: &Path) -> Result<Self, SyncListenError> {
        let failed = |source| SyncListenError::Bind {
            path: path.into(),
            source,
        };
        let address = SocketAddrUnix::new(path).map_err(failed)?;
        let _alone = make_free(path).map_err(|taken| match taken {
            Taken::InUse => SyncListenError::InUse(path.into()),
            Taken::NotASocket => SyncListenError::NotASocket(path.into()),
        })?;
        let fd = socket().map_err(failed)?;
        // The file gets the mode that the socket has when it is bound.
        rustix::fs::fchmod(&fd, Mode::from_raw_mode(0o660)).map_err(failed)?;
        bind(&fd, &address).map_err(failed)?;
        let file = Some(Arc::new(SocketFile::of(path).map_err(failed)?));
        let socket = Self { fd, file };
        listen(&socket.fd, BACKLOG).map_err(failed)?;
        Ok(socket)
    }

    /// Takes the inherited fd `fd`, which listens.
    ///
    /// # Errors
    /// [`SyncListenError::NotListening`]
    pub fn inherit(fd: RawFd) -> Result<Self, SyncListenError> {
        let not_listening = |source| SyncListenError::NotListening { fd, source };
        if fd < 0 {
            return Err(not_listening(Errno::BADF));
        }
        #[allow(unsafe_code, reason = "ownership of an inherited fd")]
        // SAFETY: the number was given to this process to be owned by it, and this is called once,
        // before any other fd is opened under it. Whether it is open is checked by the first use.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        match check(socket.as_fd()) {
            Ok(()) => Ok(Self {
                fd: socket,
                file: None,
            }),
            Err(source) => {
                // A number that is not open is not ours to close.
                std::mem::forget(socket);
                Err(not_listening(source))
            }
        }
    }

    /// The file that was made for it.
    pub fn file(&self) -> Option<&Arc<SocketFile>> {
        self.file.as_ref()
    }

    /// The next connection, if there is one.
    ///
    /// # Errors
    /// The error of accept4; [`Errno::AGAIN`] if there is none.
    pub fn accept(&self) -> Result<OwnedFd, Errno> {
        accept_with(&self.fd, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)
    }
}

impl AsFd for SyncSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for SyncSocket {
    fn drop(&mut self) {
        if let Some(file) = &self.file {
            file.remove();
        }
    }
}

fn socket() -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
}

fn check(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    if sockopt::socket_domain(fd)? != AddressFamily::UNIX
        || sockopt::socket_type(fd)? != SocketType::SEQPACKET
        || !sockopt::socket_acceptconn(fd)?
    {
        return Err(Errno::PROTOTYPE);
    }
    rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::CLOEXEC)?;
    let flags = rustix::fs::fcntl_getfl(fd)?;
    rustix::fs::fcntl_setfl(fd, flags | rustix::fs::OFlags::NONBLOCK)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::IntoRawFd;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn stale_socket_file_is_replaced_and_removed_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sync.sock");
        let mut first = SyncSocket::bind(&path).unwrap();
        // As a process leaves it that is killed.
        first.file = None;
        drop(first);
        assert!(path.exists());
        let second = SyncSocket::bind(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o117, 0);
        assert!(matches!(
            SyncSocket::bind(&path),
            Err(SyncListenError::InUse(_))
        ));
        drop(second);
        assert!(!path.exists());
    }

    #[test]
    fn file_that_is_no_socket_is_refused_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        std::fs::write(&path, "precious").unwrap();
        let error = SyncSocket::bind(&path).unwrap_err();
        assert!(matches!(error, SyncListenError::NotASocket(_)));
        assert!(path.exists());
    }

    #[test]
    fn fd_that_does_not_listen_for_peers_is_refused() {
        let (stream, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        for fd in [-1, 1 << 20, stream.into_raw_fd()] {
            let error = SyncSocket::inherit(fd).unwrap_err();
            assert!(matches!(error, SyncListenError::NotListening { .. }));
        }
        let listening = socket().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let address = SocketAddrUnix::new(folder.path().join("s")).unwrap();
        bind(&listening, &address).unwrap();
        listen(&listening, 1).unwrap();
        assert!(SyncSocket::inherit(listening.into_raw_fd()).is_ok());
    }
}
