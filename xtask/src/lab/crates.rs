//! Crates for builds in the lab. The host downloads them: it has the proxies and certificates that
//! its network may need, and the lab has not.

use std::env;
use std::path::Path;
use std::process::{Command, Stdio};

use super::LabError;

/// Manifests with a lock file of their own, below the checkout.
const MANIFESTS: [&str; 2] = ["Cargo.toml", "tests/fuzz/Cargo.toml"];

/// The lab's architecture, for which alone crates are needed.
const TRIPLE: &str = "x86_64-unknown-linux-gnu";

/// Downloads what the lock files name and is not there yet.
pub fn fetch(checkout: &Path) -> Result<(), LabError> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    for manifest in MANIFESTS {
        let fetched = Command::new(&cargo)
            .args(["fetch", "--quiet", "--locked", "--target", TRIPLE])
            .arg("--manifest-path")
            .arg(checkout.join(manifest))
            .stdin(Stdio::null())
            .status()
            .map_err(LabError::io("start cargo"))?;
        if !fetched.success() {
            return Err(LabError::Crates { manifest });
        }
    }
    Ok(())
}
