//! Which file an fd is.

use std::os::fd::AsFd;

use rustix::io::Errno;

/// Identity of an open file: equal for two fds if and only if they share the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    /// The identity of the file behind `fd`.
    ///
    /// # Errors
    /// The error of fstat.
    pub fn of(fd: impl AsFd) -> Result<Self, Errno> {
        let stat = rustix::fs::fstat(fd)?;
        Ok(Self {
            device: stat.st_dev,
            inode: stat.st_ino,
        })
    }
}
