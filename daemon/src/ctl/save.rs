//! The state of the device in a file.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::CtlError;
use crate::control;
use crate::size;

/// Has the state written to `path`, which has what it had before until all of it is there.
pub fn save(socket: &Path, path: &Path, out: &mut impl Write) -> Result<(), CtlError> {
    let failed = |source| CtlError::File {
        path: path.into(),
        source,
    };
    let partial = partial(path);
    let mut options = OpenOptions::new();
    // The guest's pictures are nobody else's.
    let options = options.write(true).create(true).truncate(true).mode(0o600);
    let file = options.open(&partial).map_err(failed)?;
    let saved = write(socket, &file, out)
        .and_then(|()| file.sync_all().map_err(failed))
        .and_then(|()| std::fs::rename(&partial, path).map_err(failed));
    if saved.is_err() {
        let _ = std::fs::remove_file(&partial);
        return saved;
    }
    let bytes = file.metadata().map_err(failed)?.len();
    writeln!(out, "{}: {}", path.display(), size::format(bytes))?;
    Ok(())
}

fn write(socket: &Path, file: &File, out: &mut impl Write) -> Result<(), CtlError> {
    let mut written = Ok(());
    control::save(socket, file, |done, total| {
        let percent = done.saturating_mul(100).checked_div(total).unwrap_or(100);
        let line = writeln!(out, "{percent:3} % of {}", size::format(total));
        written = std::mem::replace(&mut written, Ok(())).and(line);
    })?;
    Ok(written?)
}

fn partial(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".partial");
    name.into()
}
