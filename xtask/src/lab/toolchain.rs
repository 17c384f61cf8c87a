//! The host's Rust, lent to the lab.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::LabError;

/// The two folders of a Rust installation that a build needs.
#[derive(Debug)]
pub struct Toolchain {
    /// Compiler, cargo and standard library.
    pub sysroot: PathBuf,
    /// Downloaded crates, shared with the host so that nothing is fetched twice.
    pub cargo_home: PathBuf,
}

impl Toolchain {
    /// The toolchain cargo runs `xtask` with.
    pub fn find(checkout: &Path) -> Result<Self, LabError> {
        let mut sysroot = Command::new("rustc")
            .args(["--print", "sysroot"])
            .current_dir(checkout)
            .output()
            .map_err(LabError::io("run rustc to find its sysroot"))?
            .stdout;
        while sysroot.last().is_some_and(u8::is_ascii_whitespace) {
            sysroot.pop();
        }
        let sysroot = PathBuf::from(OsString::from_vec(sysroot));
        let unusable = |reason| LabError::Toolchain {
            sysroot: sysroot.clone(),
            reason,
        };
        if sysroot == Path::new("/usr") {
            return Err(unusable("it is linked against this machine's libraries"));
        }
        if !sysroot.join("bin/cargo").exists() {
            return Err(unusable("it has no bin/cargo"));
        }
        Ok(Self {
            sysroot,
            cargo_home: cargo_home()?,
        })
    }
}

fn cargo_home() -> Result<PathBuf, LabError> {
    let home = env::var_os("CARGO_HOME").map_or_else(
        || Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")),
        |home| Some(PathBuf::from(home)),
    );
    let home = home.ok_or(LabError::NoCacheFolder)?;
    fs::create_dir_all(&home).map_err(LabError::io(format!(
        "create the folder {}",
        home.display()
    )))?;
    Ok(home)
}
