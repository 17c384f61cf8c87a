//! Commands that run inside the lab: the host's side.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{self, Command};

use super::Lab;

/// The checkout inside the lab and inside guests.
pub const SOURCE: &str = "/src";
/// The lab's own root once more, for QEMU to serve to guests.
pub const ROOT: &str = "/lab-root";
/// The target folder of builds made inside the lab.
pub const TARGET: &str = "/src/target/lab";

const RUST: &str = "/opt/rust";
const CARGO: &str = "/opt/cargo";
const PATH: &str = "/opt/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What of the caller's environment programs inside the lab see, by exact name or by a prefix ending in `_`.
const PASSED: &[&str] = &[
    "CARGO_HTTP_",
    "CARGO_NET_",
    "CARGO_TERM_",
    "COLORTERM",
    "NO_COLOR",
    "RUST_BACKTRACE",
    "RUST_LOG",
    "TERM",
    "all_proxy",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "ALL_PROXY",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
];

/// A program's view of the lab, before it is started.
#[derive(Debug)]
pub struct Entry<'lab> {
    lab: &'lab Lab,
    arguments: Vec<OsString>,
    directory: PathBuf,
}

impl<'lab> Entry<'lab> {
    pub(super) fn new(lab: &'lab Lab) -> Self {
        let entry = Self {
            lab,
            arguments: Vec::new(),
            directory: SOURCE.into(),
        };
        entry
            .bind("/proc", "/proc")
            .bind("/sys", "/sys")
            .bind("/dev", "/dev")
            .bind(&lab.checkout, SOURCE)
            .bind(&lab.toolchain.cargo_home, CARGO)
            .bind(lab.run.path(), lab.run.path())
            .bind_read_only(&lab.toolchain.sysroot, RUST)
            .bind_read_only(lab.root(), ROOT)
            .bind_read_only("/etc/resolv.conf", "/etc/resolv.conf")
    }

    /// Also shows a host folder or file, which must be below `/run` or `/tmp` inside the lab.
    #[must_use]
    pub fn bind(self, host: impl AsRef<Path>, inside: impl AsRef<Path>) -> Self {
        self.mount("--bind", host.as_ref(), inside.as_ref())
    }

    /// Like [`Self::bind`], but programs inside cannot write to it.
    #[must_use]
    pub fn bind_read_only(self, host: impl AsRef<Path>, inside: impl AsRef<Path>) -> Self {
        self.mount("--bind-read-only", host.as_ref(), inside.as_ref())
    }

    /// Starts the program in this folder of the lab rather than in the checkout.
    #[must_use]
    pub fn directory(mut self, inside: impl Into<PathBuf>) -> Self {
        self.directory = inside.into();
        self
    }

    /// A command that becomes `program`: same pid, same standard streams, its exit status.
    ///
    /// The program is killed when the *thread* that starts it ends, so start it from one that outlives it.
    /// Environment variables may be added to the result; `current_dir` has no effect on the program.
    #[must_use]
    pub fn command(self, program: impl AsRef<OsStr>) -> Command {
        // Still this program even where cargo has replaced its file meanwhile.
        let mut command = Command::new("/proc/self/exe");
        command
            .arg("lab-enter")
            .arg("--parent")
            .arg(process::id().to_string())
            .arg("--root")
            .arg(self.lab.root())
            .arg("--directory")
            .arg(&self.directory)
            .args(&self.arguments)
            .arg("--")
            .arg(program)
            .env_clear()
            .envs(env::vars_os().filter(|(name, _)| passed(name)))
            .env("PATH", PATH)
            .env("HOME", "/tmp")
            .env("LANG", "C.UTF-8")
            .env("CARGO_HOME", CARGO)
            .env("CARGO_TARGET_DIR", TARGET);
        command
    }

    /// Cargo inside the lab, on this checkout, with its own target folder and the host's downloaded crates.
    #[must_use]
    pub fn cargo<S: AsRef<OsStr>>(self, arguments: &[S]) -> Command {
        // Cargo would find its subcommand among rustup's proxies in the host's CARGO_HOME, and they have no rustup here.
        let program = match arguments.first().map(AsRef::as_ref) {
            Some(name) if name == "clippy" => "cargo-clippy",
            Some(name) if name == "fmt" => "cargo-fmt",
            _ => "cargo",
        };
        let mut command = self.command(program);
        // A second build is rare here, and what it would need takes a third of the disk. All builds
        // have to agree, or each makes everything anew.
        command.args(arguments).env("CARGO_INCREMENTAL", "0");
        command
    }

    fn mount(mut self, option: &str, host: &Path, inside: &Path) -> Self {
        self.arguments
            .extend([option.into(), host.into(), inside.into()]);
        self
    }
}

fn passed(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| {
        PASSED
            .iter()
            .any(|rule| name == *rule || (rule.ends_with('_') && name.starts_with(rule)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_environment_is_filtered() {
        assert!(passed(OsStr::new("CARGO_NET_OFFLINE")));
        assert!(passed(OsStr::new("TERM")));
        assert!(!passed(OsStr::new("CARGO_MANIFEST_DIR")));
        assert!(!passed(OsStr::new("TERMINFO")));
        assert!(!passed(OsStr::new("LD_PRELOAD")));
    }
}
