//! A folder for the sockets and outputs of one run.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process;

use rustix::fs::{FlockOperation, flock};

use super::{LabError, cache};

/// Not the temporary folder of the environment: socket addresses hold 107 bytes, and the lab has its own `/tmp`.
const PARENT: &str = "/tmp";
const PREFIX: &str = "coherd-lab-";

/// A private folder that has the same path on the host and inside the lab, removed when dropped.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    /// Held for as long as the folder is in use.
    _lock: File,
}

impl RunDir {
    /// Creates the folder, and removes those that killed runs left behind.
    pub fn create() -> Result<Self, LabError> {
        let parent = Path::new(PARENT);
        remove_stale(parent);
        let mut number = 0;
        loop {
            let path = parent.join(format!("{PREFIX}{}-{number}", process::id()));
            match try_create(&path) {
                Ok(Some(lock)) => return Ok(Self { path, _lock: lock }),
                Ok(None) => number += 1,
                Err(source) => {
                    return Err(LabError::Io {
                        action: format!("create the folder {}", path.display()),
                        source,
                    });
                }
            }
        }
    }

    /// Its path, on the host and inside the lab.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        // What cannot be removed now is removed by a later run.
        let _ = cache::remove_tree(&self.path);
    }
}

/// None if the name is taken, or was swept away by another run before it was locked.
fn try_create(path: &Path) -> io::Result<Option<File>> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(None),
        other => other?,
    }
    let dir = File::open(path)?;
    let locked = flock(&dir, FlockOperation::NonBlockingLockExclusive).is_ok();
    Ok((locked && dir.metadata()?.nlink() > 0).then_some(dir))
}

fn remove_stale(parent: &Path) {
    let Ok(listing) = fs::read_dir(parent) else {
        return;
    };
    for entry in listing.flatten() {
        let name = entry.file_name();
        let ours = name.to_str().is_some_and(|name| name.starts_with(PREFIX));
        if !ours || !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        if let Ok(dir) = File::open(entry.path())
            && flock(&dir, FlockOperation::NonBlockingLockExclusive).is_ok()
        {
            // Another user's folder stays, and the next run tries again.
            let _ = cache::remove_tree(&entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_folders_without_an_owner_are_stale() {
        let parent = tempfile::tempdir().unwrap();
        let [live, dead] = ["live", "dead"].map(|n| parent.path().join(format!("{PREFIX}{n}")));
        let _lock = try_create(&live).unwrap().unwrap();
        drop(try_create(&dead).unwrap().unwrap());
        fs::write(dead.join("socket"), "").unwrap();
        remove_stale(parent.path());
        assert!(live.exists());
        assert!(!dead.exists());
    }
}
