//! The file of a unix socket, which is not to outlive its listener.

use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags, flock, open, statat, unlinkat};
use rustix::io::Errno;

/// Tries to have a folder for oneself, and the time between two.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(10);

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

/// Keeps others that call this for a file in the same folder waiting until the result is dropped,
/// so that of two processes which find a stale socket one makes a new one and the other sees it.
/// Gives up after half a second, and where the folder cannot be read.
pub fn lock_folder_of(path: &Path) -> Option<OwnedFd> {
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
}
