//! A file again, with less access.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use thiserror::Error;

use crate::exporter::Exporter;

/// Why a file cannot be opened again for reading only.
#[derive(Debug, Error)]
pub enum ReopenError {
    /// A dma-buf has no name in any file system; its fd can only be shared as it is.
    #[error("a dma-buf cannot be opened again for reading only")]
    DmaBuf,
    /// The file could not be opened.
    #[error("cannot open the file again for reading, is /proc mounted?")]
    Open(#[source] Errno),
}

pub(super) fn read_only(fd: BorrowedFd<'_>, exporter: &Exporter) -> Result<OwnedFd, ReopenError> {
    if exporter.is_dma_buf() {
        return Err(ReopenError::DmaBuf);
    }
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(ReopenError::Open)
}
