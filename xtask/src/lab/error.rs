//! What can go wrong with the lab.

use std::io;
use std::path::PathBuf;

/// Why the lab cannot be built, found or entered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LabError {
    /// A system call or a program start failed.
    #[error("cannot {action}")]
    Io {
        /// What was tried.
        action: String,
        /// What the system said.
        source: io::Error,
    },
    /// mmdebstrap is not installed, and installing it needs root.
    #[error(
        "mmdebstrap is missing, which builds the lab; run this as root, then try again:\n  {install}"
    )]
    NoMmdebstrap {
        /// The line that installs it.
        install: String,
    },
    /// A program that prepares or builds the lab failed.
    #[error("{program} failed ({status}), so there is no lab; {advice}\n{tail}")]
    Failed {
        /// The program.
        program: &'static str,
        /// How it ended.
        status: String,
        /// What to look at or do.
        advice: String,
        /// The last lines it printed.
        tail: String,
    },
    /// No Debian mirror is known.
    #[error(
        "no Debian mirror to build the lab from: this machine's apt has no Debian archive over http or https; \
         set COHERD_MIRROR to one, such as http://HOST/debian"
    )]
    NoMirror,
    /// Neither of the variables that lead to a cache folder is set.
    #[error("no folder for the lab: set COHERD_LAB, XDG_CACHE_HOME or HOME")]
    NoCacheFolder,
    /// A lab to be removed is in use.
    #[error("the lab {name} is in use by another cargo xtask; stop that one, then try again")]
    InUse {
        /// The cache entry's name.
        name: String,
    },
    /// A folder to be removed has something mounted in it.
    #[error(
        "{} is mounted inside {}, and removing it would reach through the mount; unmount it, then try again",
        mount.display(), folder.display()
    )]
    Mounted {
        /// The mount point found.
        mount: PathBuf,
        /// The folder to be removed.
        folder: PathBuf,
    },
    /// The host's Rust cannot be used inside the lab.
    #[error(
        "the Rust toolchain at {} cannot be used inside the lab: {reason}; install one with rustup",
        sysroot.display()
    )]
    Toolchain {
        /// Where the compiler says it lives.
        sysroot: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Cargo could not download crates, and has said why.
    #[error(
        "the crates of {manifest} cannot be downloaded; if its lock file is out of date, run `cargo metadata \
         --manifest-path {manifest}`, else look at the network"
    )]
    Crates {
        /// Whose, below the checkout.
        manifest: &'static str,
    },
    /// Not started by cargo, and not inside the checkout.
    #[error("this is not a checkout of the workspace: no Cargo.lock above {}; run `cargo xtask` inside it", start.display())]
    NoCheckout {
        /// Where the search began.
        start: PathBuf,
    },
}

impl LabError {
    /// Wraps an [`io::Error`] with what was tried.
    pub fn io(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let action = action.into();
        move |source| Self::Io { action, source }
    }
}
