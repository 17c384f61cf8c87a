//! Cargo subcommands that make packages, built once for each version and kept in the cache. Debian
//! has neither of them.

use std::fs;
use std::path::PathBuf;
use std::process::{self, Command, Stdio};

use super::{DistError, io};
use crate::lab::Lab;
use crate::progress::Progress;

/// A program from the registry.
#[derive(Clone, Copy, Debug)]
pub struct Tool {
    name: &'static str,
    version: &'static str,
    options: &'static [&'static str],
}

/// Makes the .deb.
pub const CARGO_DEB: Tool = Tool {
    name: "cargo-deb",
    version: "3.8.0",
    // Debian's `xz` does the compression.
    options: &["--no-default-features"],
};

/// Makes the .rpm.
pub const CARGO_GENERATE_RPM: Tool = Tool {
    name: "cargo-generate-rpm",
    version: "0.21.1",
    options: &[],
};

impl Tool {
    /// The program, after a build if this version is not in the cache.
    pub fn ensure(self, progress: &Progress) -> Result<PathBuf, DistError> {
        let name = format!("{}-{}", self.name, self.version);
        let tools = Lab::tools()?;
        let folder = tools.join(&name);
        let program = folder.join("bin").join(self.name);
        if program.exists() {
            return Ok(program);
        }
        progress.say(&format!("building {name}, once"));
        let _waiting = progress.waiting(&format!("building {name}"));
        let staging = folder.with_extension(format!("building-{}", process::id()));
        let built = Command::new("cargo")
            .args(["install", "--locked", "--quiet", "--version", self.version])
            .args(self.options)
            // They run for seconds: what they would gain is less than what the compiler takes.
            .args(["--profile", "dev", "--config", "profile.dev.debug=false"])
            .arg("--root")
            .arg(&staging)
            .arg(self.name)
            .env("CARGO_INCREMENTAL", "0")
            // What they have in common is built once.
            .env("CARGO_TARGET_DIR", tools.join("target"))
            .stdin(Stdio::null())
            .status()
            .map_err(io("start cargo install"))?;
        if !built.success() {
            let _ = fs::remove_dir_all(&staging);
            return Err(DistError::Tool(name));
        }
        if fs::rename(&staging, &folder).is_err() {
            // Somebody else was faster.
            fs::remove_dir_all(&staging).map_err(io(format!("remove {}", staging.display())))?;
        }
        Ok(program)
    }
}
