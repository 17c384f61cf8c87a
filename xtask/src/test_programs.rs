//! Test programs that cargo builds in the lab, to be run elsewhere than under cargo.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use crate::lab::{Lab, LabError};
use crate::libtest::{self, Results};
use crate::test_layer::{self, Profile};
use crate::vm::{Vm, VmError};

/// What there are tests of in the lab: one set of packages, so that nothing is built twice.
pub const PACKAGES: &[&str] = &["--workspace", "--exclude=xtask"];

/// The feature with which coherd is built in the lab.
pub const WITH_VENUS: &str = "--features=coherd/venus,coherd-tests/venus";

/// Cargo's options for the tests in the lab.
pub const OPTIONS: &[&str] = &[PACKAGES[0], PACKAGES[1], WITH_VENUS];

/// Why there are no test programs.
#[derive(Debug, thiserror::Error)]
pub enum TestProgramError {
    /// The lab does not work.
    #[error(transparent)]
    Lab(#[from] LabError),
    /// Cargo could not be started or listened to.
    #[error("cannot run cargo in the lab")]
    Cargo(#[from] std::io::Error),
    /// They do not build; the compiler has said why.
    #[error("the test programs do not build in the lab")]
    Build,
}

/// One program, as cargo tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestProgram {
    /// Its crate.
    pub package: String,
    /// Its target: the crate's library, or a file of the crate's `tests`.
    pub target: String,
    /// Where it is, inside the lab and its guests.
    pub path: PathBuf,
    /// Where cargo would start it: its crate's folder, inside the lab and its guests.
    pub folder: PathBuf,
}

/// A variable for a test program.
pub type Variable = (&'static str, PathBuf);

/// Variables for test programs in the lab and its guests, beside those that cargo sets: Vulkan has
/// to be there, the loader finds the layer with incoherent memory, and it asks no driver that has no
/// device here.
#[must_use]
pub fn environment() -> Vec<Variable> {
    vec![
        ("COHERD_REQUIRE_VULKAN", "1".into()),
        ("VK_ADD_LAYER_PATH", test_layer::folder(Profile::Tests)),
        ("VK_LOADER_DRIVERS_SELECT", "lvp*".into()),
    ]
}

impl TestProgram {
    /// Runs its tests as root of a guest, those that libtest selects by these arguments. A program
    /// that ends without results counts as a failed test.
    ///
    /// # Errors
    /// [`VmError`], [`VmError::Timeout`] for one.
    pub fn run_in_guest(
        &self,
        vm: &Vm,
        environment: &[Variable],
        selection: &[&str],
        timeout: Duration,
    ) -> Result<Results, VmError> {
        let folder = quoted(&self.folder.display().to_string());
        let mut words = vec![format!("CARGO_MANIFEST_DIR={folder}")];
        for (name, value) in self::environment().iter().chain(environment) {
            words.push(format!("{name}={}", quoted(&value.display().to_string())));
        }
        words.push(quoted(&self.path.display().to_string()));
        words.extend(libtest::ARGUMENTS.iter().copied().map(str::to_owned));
        words.extend(selection.iter().copied().map(quoted));
        let script = format!("cd {folder} && exec env {}", words.join(" "));
        let output = vm.run(&script, timeout)?;
        let mut results = Results::read(&output.log);
        if output.status != 0 && results.tally.failed == 0 {
            results.shown += &format!("FAILED: {self} ended with status {}\n", output.status);
            results.tally.failed += 1;
        }
        Ok(results)
    }
}

impl fmt::Display for TestProgram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.package, self.target)
    }
}

/// A word for a shell.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Builds the test programs that `cargo test` with [`OPTIONS`] would run.
///
/// # Errors
/// See [`TestProgramError`].
pub fn build(lab: &Lab) -> Result<Vec<TestProgram>, TestProgramError> {
    lab.fetch_crates()?;
    test_layer::install(lab, Profile::Tests)?;
    let mut cargo = lab
        .cargo(&[
            "test",
            "--no-run",
            "--message-format=json-render-diagnostics",
            "--quiet",
        ])
        .args(OPTIONS)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut messages = String::new();
    if let Some(pipe) = &mut cargo.stdout {
        pipe.read_to_string(&mut messages)?;
    }
    if !cargo.wait()?.success() {
        return Err(TestProgramError::Build);
    }
    Ok(messages.lines().filter_map(program).collect())
}

/// The program of one message of cargo, if it tells of one.
fn program(message: &str) -> Option<TestProgram> {
    let message: Value = serde_json::from_str(message).ok()?;
    if message["reason"] != "compiler-artifact" || message["profile"]["test"] != true {
        return None;
    }
    let manifest = Path::new(message["manifest_path"].as_str()?);
    // The end of an identifier is a name and a version, and the name may be that of the folder.
    let id = message["package_id"].as_str()?;
    let (folder, end) = id.rsplit_once('#')?;
    let name = match end.split_once('@') {
        Some((name, _)) => name,
        None => folder.rsplit('/').next()?,
    };
    Some(TestProgram {
        package: name.to_owned(),
        target: message["target"]["name"].as_str()?.to_owned(),
        path: message["executable"].as_str()?.into(),
        folder: manifest.parent()?.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_one_whatever_it_holds() {
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }

    #[test]
    fn only_test_programs_count_and_their_crate_is_named_either_way() {
        let message = |id: &str, test: bool| {
            serde_json::json!({
                "reason": "compiler-artifact",
                "package_id": id,
                "manifest_path": "/src/blob/Cargo.toml",
                "target": {"name": "coherd_blob", "kind": ["lib"]},
                "profile": {"test": test},
                "executable": "/src/target/lab/debug/deps/coherd_blob-1234",
            })
            .to_string()
        };
        let found = program(&message("path+file:///src/blob#coherd-blob@0.1.0", true)).unwrap();
        assert_eq!(found.package, "coherd-blob");
        assert_eq!(found.folder, Path::new("/src/blob"));
        let found = program(&message("path+file:///src/xtask#0.1.0", true)).unwrap();
        assert_eq!(found.package, "xtask");
        assert_eq!(
            program(&message("path+file:///src/blob#coherd-blob@0.1.0", false)),
            None
        );
        assert_eq!(program("warning: x"), None);
    }
}
