//! What cargo checks: format, lints, documentation, unit and integration tests.

use std::fs::File;
use std::io::{self, Read};
use std::process::{Command, Stdio};

use super::TestError;
use crate::lab::{Entry, Lab, LabError};
use crate::libtest::{self, Results};
use crate::tally::Tally;
use crate::test_programs::{self, OPTIONS, WITH_VENUS};

/// Why a step could not be run.
#[derive(Debug, thiserror::Error)]
#[error("cannot run cargo for the step {step:?}")]
pub struct CargoError {
    step: &'static str,
    source: io::Error,
}

const TEST: &str = "test";
const CLIPPY: &str = "clippy";

/// Tests of each crate by itself and of the program. Those that have a front-end of their own are
/// the same without Venus.
const WITHOUT_VENUS: &[&str] = &[
    test_programs::PACKAGES[0],
    test_programs::PACKAGES[1],
    "--lib",
    "--bins",
    "--test=cli",
    "--test=cage",
    "--test=escapes",
];

/// One call of cargo.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// What it is for.
    pub name: &'static str,
    subcommand: &'static str,
    options: &'static [&'static str],
    /// Whether the lab has Vulkan.
    vulkan: bool,
}

impl Step {
    /// Steps that need nothing but Rust, and are short.
    pub const ON_HOST: [Self; 3] = [
        Self::new("format", "fmt", &["--all", "--check"]),
        Self::new(
            "format of the fuzz targets",
            "fmt",
            &["--manifest-path=tests/fuzz/Cargo.toml", "--check"],
        ),
        Self::new("tests of xtask", TEST, &["--package=xtask"]),
    ];

    /// Steps in the lab, which has virglrenderer, a Vulkan driver and compilers of C and C++.
    pub const IN_LAB: [Self; 8] = [
        Self::new(
            "lints",
            CLIPPY,
            &["--workspace", "--all-targets", WITH_VENUS],
        ),
        Self::new(
            "lints without Venus",
            CLIPPY,
            &["--workspace", "--lib", "--bins", "--test=cli"],
        ),
        Self::new(
            "documentation",
            "doc",
            &[
                "--workspace",
                "--no-deps",
                "--document-private-items",
                WITH_VENUS,
            ],
        ),
        Self::new(
            "documentation of what is public",
            "doc",
            &["--package=coherd", "--features=venus", "--no-deps"],
        ),
        Self::new(
            "lints of the fuzz targets",
            CLIPPY,
            &["--manifest-path=tests/fuzz/Cargo.toml", "--locked"],
        ),
        Self {
            vulkan: false,
            ..Self::new(
                "tests without Venus and without Vulkan",
                TEST,
                WITHOUT_VENUS,
            )
        },
        Self::new("the Vulkan layer", "build", &["--package=coherd-layer"]),
        Self::new("tests", TEST, OPTIONS),
    ];

    const fn new(
        name: &'static str,
        subcommand: &'static str,
        options: &'static [&'static str],
    ) -> Self {
        Self {
            name,
            subcommand,
            options,
            vulkan: true,
        }
    }

    /// Whether its output has the results of many tests, rather than being one.
    fn has_tests(&self) -> bool {
        self.subcommand == TEST
    }

    fn arguments(&self) -> Vec<&'static str> {
        let end: &[&[&str]] = match self.subcommand {
            TEST => &[&["--no-fail-fast", "--"], libtest::ARGUMENTS],
            CLIPPY => &[&["--", "-D", "warnings"]],
            _ => &[],
        };
        [&[self.subcommand], self.options, &end.concat()].concat()
    }

    /// Runs the step on this machine.
    ///
    /// # Errors
    /// [`CargoError`] if cargo could not be started; a failed step is counted.
    pub fn run_on_host(&self, tally: &mut Tally) -> Result<(), CargoError> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.args(self.arguments());
        self.run(command, tally)
    }

    /// Runs the step inside the lab.
    ///
    /// # Errors
    /// As [`Step::run_on_host`], and [`LabError`].
    pub fn run_in_lab(&self, lab: &Lab, tally: &mut Tally) -> Result<(), TestError> {
        let arguments = self.arguments();
        let command = if self.vulkan {
            let mut command = lab.cargo(&arguments);
            command.envs(test_programs::environment());
            command
        } else {
            without_vulkan(lab)?.cargo(&arguments)
        };
        Ok(self.run(command, tally)?)
    }

    fn run(&self, mut command: Command, tally: &mut Tally) -> Result<(), CargoError> {
        let failed = |source| CargoError {
            step: self.name,
            source,
        };
        let stdout = if self.has_tests() {
            Stdio::piped()
        } else {
            Stdio::inherit()
        };
        let mut child = command
            .env("RUSTDOCFLAGS", "-D warnings")
            .env("CARGO_INCREMENTAL", "0")
            .stdin(Stdio::null())
            .stdout(stdout)
            .spawn()
            .map_err(failed)?;
        let mut output = String::new();
        if let Some(pipe) = &mut child.stdout {
            pipe.read_to_string(&mut output).map_err(failed)?;
        }
        let passed = child.wait().map_err(failed)?.success();
        let results = Results::read(&output);
        print!("{}", results.shown);
        *tally += results.tally;
        if !self.has_tests() || (!passed && results.tally.failed == 0) {
            // The call itself is the test: as one that has no tests, or one that did not build.
            let count = if passed {
                &mut tally.passed
            } else {
                &mut tally.failed
            };
            *count += 1;
        }
        if !passed {
            println!("FAILED: {}", self.name);
        }
        Ok(())
    }
}

/// The lab with a Vulkan loader that cannot be loaded.
fn without_vulkan(lab: &Lab) -> Result<Entry<'_>, LabError> {
    const LOADER: &str = "/usr/lib/x86_64-linux-gnu/libvulkan.so.1";
    let empty = lab.run_dir().join("no-loader");
    File::create(&empty).map_err(LabError::io(format!("create {}", empty.display())))?;
    Ok(lab.view().bind_read_only(empty, LOADER))
}
