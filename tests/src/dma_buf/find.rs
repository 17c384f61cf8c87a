//! Devices that a machine may have.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::skip::{Missing, Need};

/// Why a device cannot be used.
#[derive(Debug, Error)]
pub enum NotFound {
    /// It is not there and has to be.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// It is there and cannot be opened.
    #[error("cannot open {}", path.display())]
    Open {
        /// The device.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Opens a device; `None`, and a line that says so, where there is none.
pub(super) fn open(path: &Path) -> Result<Option<OwnedFd>, NotFound> {
    match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => Ok(Some(File::into(file))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Need::DmaBuf.skip(path.display().to_string())?;
            Ok(None)
        }
        Err(source) => Err(NotFound::Open {
            path: path.to_owned(),
            source,
        }),
    }
}
