//! The build of coherd, and of what surrounds it in the lab.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use super::{CoherdError, failed, vulkan};
use crate::lab::{Lab, TARGET};
use crate::progress::Progress;

/// Where cargo leaves what [`build`] builds, inside the lab and its guests.
const RELEASE: &str = "release";

/// The daemon, its Vulkan layer and that of the tests, and the programs of guests.
const PACKAGES: [&str; 5] = [
    "coherd",
    "coherd-guest",
    "coherd-layer",
    "coherd-test-layer",
    "coherd-tests",
];

/// Builds coherd with Venus, the Vulkan layers and the programs for guests, in release mode.
///
/// # Errors
/// [`CoherdError::Build`], with the compiler's output on standard error.
pub fn build(lab: &Lab, progress: &Progress) -> Result<(), CoherdError> {
    progress.say("building coherd with Venus, and the guest's programs, in the lab");
    lab.fetch_crates()?;
    let mut cargo = lab.cargo(&[
        "build",
        "--release",
        "--quiet",
        "--features",
        "coherd/venus",
    ]);
    PACKAGES.iter().for_each(|name| {
        cargo.args(["--package", name]);
    });
    let _waiting = progress.waiting("compiling");
    let built = cargo
        .stdin(Stdio::null())
        .status()
        .map_err(failed("start cargo in the lab"))?;
    if !built.success() {
        return Err(CoherdError::Build("cargo build"));
    }
    vulkan::build(lab)
}

/// Path of a program that [`build`] built, the same inside the lab and in its guests.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    Path::new(TARGET).join(RELEASE).join(name)
}
