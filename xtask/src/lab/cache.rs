//! The folder that keeps built labs, its locks, and removal from it.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::LabError;
use crate::progress::Progress;

/// The folder of all labs of this user.
#[derive(Debug)]
pub struct Cache {
    dir: PathBuf,
}

/// Who else may hold the lock of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Others may use the entry too.
    Shared,
    /// Nobody may.
    Exclusive,
}

impl Cache {
    /// Finds the folder, and creates it if it is not there.
    pub fn open() -> Result<Self, LabError> {
        let dir = env::var_os("COHERD_LAB")
            .map(PathBuf::from)
            .or_else(|| Some(PathBuf::from(env::var_os("XDG_CACHE_HOME")?).join("coherd/lab")))
            .or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cache/coherd/lab")))
            .ok_or(LabError::NoCacheFolder)?;
        fs::create_dir_all(&dir)
            .and_then(|()| dir.canonicalize())
            .map(|dir| Self { dir })
            .map_err(LabError::io(format!("create the folder {}", dir.display())))
    }

    /// The folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A finished lab.
    #[must_use]
    pub fn entry(&self, key: &str) -> PathBuf {
        self.dir.join(key)
    }

    /// A lab being built; on the same file system, so that it can be renamed when finished.
    #[must_use]
    pub fn staging(&self, key: &str) -> PathBuf {
        self.dir.join(format!("{key}.building"))
    }

    /// Everything the last build printed.
    #[must_use]
    pub fn log(&self, key: &str) -> PathBuf {
        self.dir.join(format!("{key}.log"))
    }

    /// Waits for the lock of an entry, and says so if it has to.
    pub fn lock(&self, key: &str, hold: Hold, progress: &Progress) -> Result<File, LabError> {
        let file = self.lock_file(key)?;
        let (now, wait) = match hold {
            Hold::Shared => (
                FlockOperation::NonBlockingLockShared,
                FlockOperation::LockShared,
            ),
            Hold::Exclusive => (
                FlockOperation::NonBlockingLockExclusive,
                FlockOperation::LockExclusive,
            ),
        };
        let locked = match flock(&file, now) {
            Err(Errno::WOULDBLOCK) => {
                progress.say("another cargo xtask is building the lab; waiting for it");
                let _waiting = progress.waiting("waiting for the other build");
                rustix::io::retry_on_intr(|| flock(&file, wait))
            }
            other => other,
        };
        locked
            .map(|()| file)
            .map_err(|errno| LabError::io(format!("lock the lab {key}"))(errno.into()))
    }

    /// Removes every entry; refuses when one is in use.
    pub fn clean(&self, progress: &Progress) -> Result<(), LabError> {
        for key in self.keys()? {
            let file = self.lock_file(&key)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => return Err(LabError::InUse { name: key }),
                Err(errno) => {
                    return Err(LabError::io(format!("lock the lab {key}"))(errno.into()));
                }
            }
            for dir in [self.entry(&key), self.staging(&key)] {
                if dir.exists() {
                    progress.say(&format!("removing {}", dir.display()));
                    remove_tree(&dir)?;
                }
            }
            // A build that failed early has written none.
            let _ = fs::remove_file(self.log(&key));
        }
        Ok(())
    }

    fn lock_file(&self, key: &str) -> Result<File, LabError> {
        let path = self.dir.join(format!("{key}.lock"));
        File::options()
            .read(true)
            .append(true)
            .create(true)
            .open(&path)
            .map_err(LabError::io(format!("open {}", path.display())))
    }

    /// Every entry ever begun has a lock file, which is never removed: others may be waiting on it.
    fn keys(&self) -> Result<Vec<String>, LabError> {
        let listing = fs::read_dir(&self.dir)
            .map_err(LabError::io(format!("list {}", self.dir.display())))?;
        Ok(listing
            .flatten()
            .filter_map(|entry| {
                let name = entry.file_name();
                Some(name.to_str()?.strip_suffix(".lock")?.to_owned())
            })
            .collect())
    }
}

/// Removes a folder and all in it, unless something is mounted there.
pub fn remove_tree(folder: &Path) -> Result<(), LabError> {
    let failed = |source: io::Error| LabError::Io {
        action: format!("remove {}", folder.display()),
        source,
    };
    let folder = folder.canonicalize().map_err(failed)?;
    let table = fs::read("/proc/self/mountinfo").map_err(LabError::io("read the mount table"))?;
    if let Some(mount) = mount_below(&table, &folder) {
        return Err(LabError::Mounted { mount, folder });
    }
    fs::remove_dir_all(&folder).map_err(failed)
}

fn mount_below(table: &[u8], folder: &Path) -> Option<PathBuf> {
    table
        .split(|byte| *byte == b'\n')
        .filter_map(|line| line.split(|byte| *byte == b' ').nth(4))
        .map(|field| PathBuf::from(OsString::from_vec(unescape(field))))
        .find(|mount| mount.starts_with(folder))
}

/// The kernel writes blanks and backslashes of a mount point as `\` and three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte == b'\\' && tail.len() >= 3 {
            let (digits, after) = tail.split_at(3);
            plain.push(digits.iter().fold(0_u8, |value, digit| {
                value.wrapping_mul(8).wrapping_add(digit.wrapping_sub(b'0'))
            }));
            rest = after;
        } else {
            plain.push(byte);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = b"22 1 254:0 / / rw - ext4 /dev/root rw\n\
        30 22 0:5 / /cache/a\\040b/root/dev rw shared:2 - devtmpfs dev rw\n";

    #[test]
    fn mounts_are_found_below_a_folder_only() {
        assert_eq!(
            mount_below(TABLE, Path::new("/cache/a b")),
            Some(PathBuf::from("/cache/a b/root/dev"))
        );
        assert_eq!(mount_below(TABLE, Path::new("/cache/a")), None);
    }

    #[test]
    fn a_folder_without_mounts_is_removed() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("x");
        fs::create_dir_all(folder.join("y/z")).unwrap();
        remove_tree(&folder).unwrap();
        assert!(!folder.exists());
    }
}
