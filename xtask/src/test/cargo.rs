//! What cargo checks: format, lints, documentation, unit and integration tests.

use std::io::{self, Read};
use std::process::{Command, Stdio};

use crate::lab::Lab;
use crate::libtest::{self, Results};
use crate::tally::Tally;
use crate::test_programs::{self, OPTIONS};

/// Why a step could not be run.
#[derive(Debug, thiserror::Error)]
#[error("cannot run cargo for the step {step:?}")]
pub struct CargoError {
    step: &'static str,
    source: io::Error,
}

const TEST: &str = "test";

/// One call of cargo.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// What it is for.
    pub name: &'static str,
    subcommand: &'static str,
    options: &'static [&'static str],
}

impl Step {
    /// Steps that need nothing but Rust.
    pub const ON_HOST: [Self; 4] = [
        Self::new("format", "fmt", &["--all", "--check"]),
        Self::new("lints", "clippy", &["--workspace", "--all-targets"]),
        Self::new(
            "documentation",
            "doc",
            &["--workspace", "--no-deps", "--document-private-items"],
        ),
        Self::new("unit and integration tests", TEST, &["--workspace"]),
    ];

    /// Steps that need virglrenderer, a Vulkan driver or a C++ compiler.
    pub const IN_LAB: [Self; 6] = [
        Self::new(
            "lints with Venus",
            "clippy",
            &[
                "--package=coherd",
                "--package=coherd-tests",
                "--all-targets",
                "--features=coherd/venus,coherd-tests/venus",
            ],
        ),
        Self::new(
            "documentation with Venus",
            "doc",
            &["--package=coherd", "--features=venus", "--no-deps"],
        ),
        Self::new("the Vulkan layer", "build", &["--package=coherd-layer"]),
        Self::new(
            "format of the fuzz targets",
            "fmt",
            &["--manifest-path=tests/fuzz/Cargo.toml", "--check"],
        ),
        Self::new(
            "lints of the fuzz targets",
            "clippy",
            &["--manifest-path=tests/fuzz/Cargo.toml", "--locked"],
        ),
        Self::new("unit and integration tests with Venus", TEST, OPTIONS),
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
        }
    }

    /// Whether its output has the results of many tests, rather than being one.
    fn has_tests(&self) -> bool {
        self.subcommand == TEST
    }

    fn arguments(&self) -> Vec<&'static str> {
        let end: &[&[&str]] = match self.subcommand {
            TEST => &[&["--no-fail-fast", "--"], libtest::ARGUMENTS],
            "clippy" => &[&["--", "-D", "warnings"]],
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
    /// As [`Step::run_on_host`].
    pub fn run_in_lab(&self, lab: &Lab, tally: &mut Tally) -> Result<(), CargoError> {
        let mut command = lab.cargo(&self.arguments());
        command.envs(test_programs::environment());
        self.run(command, tally)
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
            // A second build is rare here, and what it would need takes a third of the disk.
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
