//! What a machine has, and what it must have.

use std::env;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// The environment variable that turns the want of a device from a skipped test into a failed one.
pub const REQUIRED: &str = "COHERD_REQUIRE_DMA_BUF";

/// Why a device cannot be used.
#[derive(Debug, Error)]
pub enum NotFound {
    /// It is not there and has to be.
    #[error("no {what}, which {REQUIRED} demands; load its module, or unset the variable")]
    Required {
        /// The device.
        what: String,
    },
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
            missing(&path.display().to_string())
        }
        Err(source) => Err(NotFound::Open {
            path: path.to_owned(),
            source,
        }),
    }
}

/// Says that a test is skipped for want of `what`, or fails where it must not be.
pub(super) fn missing<T>(what: &str) -> Result<Option<T>, NotFound> {
    if env::var_os(REQUIRED).is_some_and(|value| !value.is_empty()) {
        return Err(NotFound::Required {
            what: what.to_owned(),
        });
    }
    println!("SKIPPED: no {what}");
    Ok(None)
}
