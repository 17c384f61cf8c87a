//! The lab: a Debian root file system with the parts coherd runs against, and commands that run inside it.

mod build;
mod cache;
mod crates;
pub mod enter;
mod entry;
mod error;
mod mirror;
mod recipe;
mod run_dir;
mod toolchain;
mod versions;

use std::env;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use cache::{Cache, Hold};
use run_dir::RunDir;
use rustix::fs::{FlockOperation, flock};
use toolchain::Toolchain;

pub use entry::{Entry, ROOT, SOURCE, TARGET};
pub use error::LabError;

use crate::progress::Progress;

/// A built lab, in use by this process.
#[derive(Debug)]
pub struct Lab {
    entry: PathBuf,
    root: PathBuf,
    versions: String,
    checkout: PathBuf,
    toolchain: Toolchain,
    run: RunDir,
    /// Keeps `lab --clean` away.
    _lock: File,
}

impl Lab {
    /// Finds the lab in the cache, or builds it.
    pub fn ensure(progress: &Progress) -> Result<Self, LabError> {
        let (cache, key) = (Cache::open()?, recipe::key());
        let entry = cache.entry(&key);
        let lock = loop {
            let lock = cache.lock(&key, Hold::Shared, progress)?;
            if entry.exists() {
                break lock;
            }
            drop(lock);
            let lock = cache.lock(&key, Hold::Exclusive, progress)?;
            if !entry.exists() {
                build::build(&cache, &key, &lock, progress)?;
            }
            // Not atomic: the loop makes sure that nobody has removed the entry in between.
            flock(&lock, FlockOperation::Unlock)
                .map_err(|errno| LabError::io("unlock the lab")(errno.into()))?;
        };
        let versions = entry.join("versions");
        let versions = fs::read_to_string(&versions)
            .map_err(LabError::io(format!("read {}", versions.display())))?;
        let checkout = checkout()?;
        Ok(Self {
            root: entry.join("root"),
            entry,
            versions,
            toolchain: Toolchain::find(&checkout)?,
            checkout,
            run: RunDir::create()?,
            _lock: lock,
        })
    }

    /// Removes every lab of this user from the cache.
    pub fn clean(progress: &Progress) -> Result<(), LabError> {
        Cache::open()?.clean(progress)
    }

    /// The root file system, as the host sees it.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The cache entry: the root, its versions, and what was found out about this machine.
    #[must_use]
    pub fn entry(&self) -> &Path {
        &self.entry
    }

    /// The folder of programs that are kept for this user, beside labs; it need not be there.
    ///
    /// # Errors
    /// See [`LabError`].
    pub fn tools() -> Result<PathBuf, LabError> {
        Ok(Cache::open()?.dir().join("tools"))
    }

    /// The versions of its main parts, one a line.
    #[must_use]
    pub fn versions(&self) -> &str {
        &self.versions
    }

    /// The version of one of its main parts, by the name that [`Self::versions`] shows.
    #[must_use]
    pub fn version(&self, part: &str) -> Option<&str> {
        versions::find(&self.versions, part)
    }

    /// The checkout, as the host sees it; [`SOURCE`] inside.
    #[must_use]
    pub fn checkout(&self) -> &Path {
        &self.checkout
    }

    /// Where the host sees a path below [`SOURCE`].
    #[must_use]
    pub fn on_host(&self, inside: &Path) -> PathBuf {
        self.checkout
            .join(inside.strip_prefix(SOURCE).unwrap_or(inside))
    }

    /// A folder for sockets and outputs, with the same path on the host and inside; removed when the lab is dropped.
    #[must_use]
    pub fn run_dir(&self) -> &Path {
        self.run.path()
    }

    /// The usual view of the lab, to which more may be bound.
    #[must_use]
    pub fn view(&self) -> Entry<'_> {
        Entry::new(self)
    }

    /// A command that runs `program` inside the lab; see [`Entry::command`] for its limits.
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        self.view().command(program)
    }

    /// Downloads the crates that builds with [`Self::cargo`] need.
    pub fn fetch_crates(&self) -> Result<(), LabError> {
        crates::fetch(&self.checkout)
    }

    /// Cargo inside the lab; see [`Entry::cargo`].
    #[must_use]
    pub fn cargo<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Command {
        self.view().cargo(arguments)
    }
}

/// The checkout that this program belongs to.
///
/// # Errors
/// [`LabError::NoCheckout`] outside of one.
pub fn checkout() -> Result<PathBuf, LabError> {
    let start = match env::var_os("CARGO_MANIFEST_DIR") {
        Some(manifest) => PathBuf::from(manifest),
        None => env::current_dir().map_err(LabError::io("find the current folder"))?,
    };
    start
        .ancestors()
        .find(|folder| folder.join("Cargo.lock").exists())
        .map(Path::to_owned)
        .ok_or(LabError::NoCheckout { start })
}
