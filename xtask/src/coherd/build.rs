//! The build of coherd, and of what surrounds it in the lab.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use super::{CoherdError, failed, vulkan};
use crate::lab::{Lab, TARGET};
use crate::progress::Progress;

/// The profile of what whole systems are made of, and the folder in which cargo leaves it.
pub const PROFILE: &str = "lab";

/// The daemon, its Vulkan layer and that of the tests, and the programs of guests.
const PACKAGES: [&str; 5] = [
    "coherd",
    "coherd-guest",
    "coherd-layer",
    "coherd-test-layer",
    "coherd-tests",
];

/// What is released, and the folder in which cargo leaves it.
const RELEASE: &str = "release";
const RELEASED: [&str; 2] = ["coherd", "coherd-layer"];

/// Builds coherd with Venus, the Vulkan layers and the programs for guests, nearly as they are
/// released.
///
/// # Errors
/// [`CoherdError::Build`], with the compiler's output on standard error.
pub fn build(lab: &Lab, progress: &Progress) -> Result<(), CoherdError> {
    progress.say("building coherd with Venus, and the guest's programs, in the lab");
    compile(lab, PROFILE, &PACKAGES, progress)?;
    vulkan::build(lab)
}

/// Builds what is released, as it is released.
///
/// # Errors
/// As [`build`].
pub fn build_release(lab: &Lab, progress: &Progress) -> Result<(), CoherdError> {
    progress.say("building the release in the lab");
    compile(lab, RELEASE, &RELEASED, progress)
}

fn compile(
    lab: &Lab,
    profile: &str,
    packages: &[&str],
    progress: &Progress,
) -> Result<(), CoherdError> {
    lab.fetch_crates()?;
    let mut cargo = lab.cargo(&["build", "--quiet", "--profile", profile]);
    cargo.args(["--features", "coherd/venus"]);
    packages.iter().for_each(|name| {
        cargo.args(["--package", name]);
    });
    let _waiting = progress.waiting("compiling");
    let built = cargo
        .stdin(Stdio::null())
        .status()
        .map_err(failed("start cargo in the lab"))?;
    match built.success() {
        true => Ok(()),
        false => Err(CoherdError::Build("cargo build")),
    }
}

/// Path of a program that [`build`] built, the same inside the lab and in its guests.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    Path::new(TARGET).join(PROFILE).join(name)
}

/// Path of a program or a library of the release, as [`program`].
#[must_use]
pub fn released(name: &str) -> PathBuf {
    Path::new(TARGET).join(RELEASE).join(name)
}
