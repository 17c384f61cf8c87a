//! The build of the fuzz targets: what `cargo fuzz build` does, with the lab's C++ compiler and
//! the stable Rust of the host.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use super::target::Target;
use super::{FuzzError, failed};
use crate::lab::{Lab, SOURCE, TARGET};
use crate::progress::Progress;

/// The crate, below the checkout.
pub const CRATE: &str = "tests/fuzz";

/// With a target that is named, build scripts and procedural macros get none of [`FLAGS`].
const TRIPLE: &str = "x86_64-unknown-linux-gnu";

/// Coverage as libFuzzer counts it, and AddressSanitizer for the crates that have unsafe code.
const FLAGS: [&str; 8] = [
    "-Zsanitizer=address",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cllvm-args=-simplifycfg-branch-fold-threshold=0",
    "--cfg=fuzzing",
];

/// Fuzz targets that are built.
#[derive(Debug)]
pub struct Fuzzers {
    /// Where they are, inside the lab.
    folder: PathBuf,
}

impl Fuzzers {
    /// Path of a target's program inside the lab.
    #[must_use]
    pub fn program(&self, target: Target) -> PathBuf {
        self.folder.join(target.name())
    }
}

/// What the targets are built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To look for inputs as fast as can be.
    Search,
    /// To run those that are known and a few more: done sooner than built for a search.
    Smoke,
}

impl Purpose {
    fn opt_level(self) -> &'static str {
        match self {
            Self::Search => "3",
            Self::Smoke => "1",
        }
    }
}

/// Builds every target.
///
/// # Errors
/// [`FuzzError::Build`], with the compiler's output on standard error.
pub fn build(lab: &Lab, purpose: Purpose, progress: &Progress) -> Result<Fuzzers, FuzzError> {
    progress.say("building the fuzz targets in the lab");
    lab.fetch_crates()?;
    let folder = Path::new(TARGET).join("fuzz");
    let manifest = Path::new(SOURCE).join(CRATE).join("Cargo.toml");
    let _waiting = progress.waiting("compiling");
    let built = lab
        .cargo(&["build", "--release", "--quiet", "--locked", "--bins"])
        .args(["--target", TRIPLE, "--manifest-path"])
        .arg(manifest)
        .arg("--target-dir")
        .arg(&folder)
        .env("RUSTFLAGS", FLAGS.join(" "))
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", purpose.opt_level())
        // Sanitizers are not stable; the compiler and the library that they need are.
        .env("RUSTC_BOOTSTRAP", "1")
        .stdin(Stdio::null())
        .status()
        .map_err(failed("start cargo in the lab"))?;
    if !built.success() {
        return Err(FuzzError::Build);
    }
    Ok(Fuzzers {
        folder: folder.join(TRIPLE).join("release"),
    })
}
