//! The file of a unix socket, which is not to outlive its listener.

use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags, flock, open, statat, unlinkat};
use rustix::io::Errno;

/// Tries to have a folder for oneself, and the time between two; also of the looks below.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(10);

/// Looks at a socket that is in use.
const LOOKS: u32 = 20;

/// A socket file that this process made. It can be removed when the path leads elsewhere, in a
/// sandbox, and is left alone once another has its name.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    folder: OwnedFd,
    name: OsString,
    id: (u64, u64),
}

impl SocketFile {
    /// The file at `path`.
    ///
    /// # Errors
    /// The error of open or stat.
    pub fn of(path: &Path) -> Result<Self, Errno> {
        let name = path.file_name().ok_or(Errno::INVAL)?.to_owned();
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = open(folder_of(path), flags, Mode::empty())?;
        let id = id(&folder, name.as_ref())?;
        let path = path.to_owned();
        Ok(Self {
            path,
            folder,
            name,
            id,
        })
    }

    /// Removes the file, unless it is another's now or gone.
    pub fn remove(&self) {
        self.remove_at(self.folder.as_fd(), self.name.as_ref());
    }

    /// The same for a process that has closed its files and is where the path leads to the file.
    pub fn remove_by_path(&self) {
        self.remove_at(CWD, &self.path);
    }

    fn remove_at(&self, folder: BorrowedFd<'_>, path: &Path) {
        if id(folder, path) == Ok(self.id) {
            let _ = unlinkat(folder, path, AtFlags::empty());
        }
    }
}

/// Why a path is not free for a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Another process has the socket there open.
    InUse,
    /// What is there is not a socket.
    NotASocket,
}

/// Makes `path` free for a socket: removes one that nobody has open. Others that call this for a
/// path in the same folder wait until the result is dropped. What else is wrong with the path,
/// bind will say.
///
/// # Errors
/// See [`Taken`].
pub fn make_free(path: &Path) -> Result<Option<OwnedFd>, Taken> {
    let lock = lock_folder_of(path);
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.file_type().is_socket() => return Err(Taken::NotASocket),
        Ok(_) => match is_stale_soon(path) {
            Ok(true) => drop(std::fs::remove_file(path)),
            Ok(false) => return Err(Taken::InUse),
            Err(_) => {}
        },
        Err(_) => {}
    }
    Ok(lock)
}

/// Whether nobody has the socket of this file open, or has in a moment: a daemon whose keeper was
/// killed ends a little later than that.
fn is_stale_soon(path: &Path) -> std::io::Result<bool> {
    for _ in 1..LOOKS {
        match is_stale(path) {
            Ok(false) => thread::sleep(PAUSE),
            settled => return settled,
        }
    }
    is_stale(path)
}

/// Whether nobody has the socket of this file open. Its owner is not disturbed: a socket of another
/// type is never connected, and refused with another error than one that is not there.
fn is_stale(path: &Path) -> std::io::Result<bool> {
    match UnixDatagram::unbound()?.connect(path) {
        Ok(()) => Ok(false),
        Err(error) => match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::CONNREFUSED) => Ok(true),
            Some(Errno::PROTOTYPE) => Ok(false),
            _ => Err(error),
        },
    }
}

/// Keeps others that call this for a file in the same folder waiting until the result is dropped,
/// so that of two processes which find a stale socket one makes a new one and the other sees it.
/// Gives up after half a second, and where the folder cannot be read.
fn lock_folder_of(path: &Path) -> Option<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = open(folder_of(path), flags, Mode::empty()).ok()?;
    for _ in 0..TRIES {
        match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Some(folder),
            Err(Errno::WOULDBLOCK) => thread::sleep(PAUSE),
            Err(_) => return None,
        }
    }
    None
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        Some(_) => Path::new("."),
        None => Path::new("/"),
    }
}

fn id(folder: impl AsFd, path: &Path) -> Result<(u64, u64), Errno> {
    let stat = statat(folder, path, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok((stat.st_dev, stat.st_ino))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};
    use std::os::unix::net::UnixListener;

    #[test]
    fn file_of_another_socket_under_the_same_name_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let _ours = UnixListener::bind(&path).unwrap();
        let file = SocketFile::of(&path).unwrap();
        std::fs::rename(&path, folder.path().join("moved")).unwrap();
        let _theirs = UnixListener::bind(&path).unwrap();

        file.remove();
        assert!(path.exists());

        std::fs::rename(folder.path().join("moved"), &path).unwrap();
        file.remove();
        assert!(!path.exists());
    }

    #[test]
    fn folder_of_a_bare_name_is_where_the_process_is() {
        assert_eq!(folder_of(Path::new("s")), Path::new("."));
        assert_eq!(folder_of(Path::new("/s")), Path::new("/"));
    }

    #[test]
    fn path_is_free_once_nobody_has_its_socket_whatever_the_kind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let address = SocketAddrUnix::new(&path).unwrap();
        for kind in [SocketType::STREAM, SocketType::SEQPACKET, SocketType::DGRAM] {
            let socket = rustix::net::socket(AddressFamily::UNIX, kind, None).unwrap();
            rustix::net::bind(&socket, &address).unwrap();
            assert_eq!(make_free(&path).unwrap_err(), Taken::InUse, "{kind:?}");
            assert!(path.exists());
            drop(socket);
            assert!(make_free(&path).is_ok());
            assert!(!path.exists());
        }
        std::fs::write(&path, "precious").unwrap();
        assert_eq!(make_free(&path).unwrap_err(), Taken::NotASocket);
        assert!(path.exists());
    }
}
