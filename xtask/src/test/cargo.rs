//! What cargo checks: format, lints, documentation, unit and integration tests.

use std::io::{self, Read};
use std::process::{Command, Stdio};

use super::tally::Tally;
use crate::lab::Lab;

/// Why a step could not be run.
#[derive(Debug, thiserror::Error)]
#[error("cannot run cargo for the step {step:?}")]
pub struct CargoError {
    step: &'static str,
    source: io::Error,
}

/// One call of cargo.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// What it is for.
    pub name: &'static str,
    arguments: &'static [&'static str],
    /// Its output has the results of many tests, rather than being one.
    tests: bool,
}

impl Step {
    /// Steps that need nothing but Rust.
    pub const ON_HOST: [Self; 4] = [
        Self {
            name: "format",
            arguments: &["fmt", "--all", "--check"],
            tests: false,
        },
        Self {
            name: "lints",
            arguments: &[
                "clippy",
                "--workspace",
                "--all-targets",
                "--",
                "-D",
                "warnings",
            ],
            tests: false,
        },
        Self {
            name: "documentation",
            arguments: &[
                "doc",
                "--workspace",
                "--no-deps",
                "--document-private-items",
            ],
            tests: false,
        },
        Self {
            name: "unit and integration tests",
            arguments: &["test", "--workspace", "--no-fail-fast"],
            tests: true,
        },
    ];

    /// Steps that need virglrenderer, or a C++ compiler.
    pub const IN_LAB: [Self; 6] = [
        Self {
            name: "lints with Venus",
            arguments: &[
                "clippy",
                "--package=coherd",
                "--package=coherd-tests",
                "--all-targets",
                "--features=coherd/venus,coherd-tests/venus",
                "--",
                "-D",
                "warnings",
            ],
            tests: false,
        },
        Self {
            name: "documentation with Venus",
            arguments: &["doc", "--package=coherd", "--features=venus", "--no-deps"],
            tests: false,
        },
        Self {
            name: "the Vulkan layer",
            arguments: &["build", "--package=coherd-layer"],
            tests: false,
        },
        Self {
            name: "format of the fuzz targets",
            arguments: &["fmt", "--manifest-path=tests/fuzz/Cargo.toml", "--check"],
            tests: false,
        },
        Self {
            name: "lints of the fuzz targets",
            arguments: &[
                "clippy",
                "--manifest-path=tests/fuzz/Cargo.toml",
                "--locked",
                "--",
                "-D",
                "warnings",
            ],
            tests: false,
        },
        Self {
            name: "unit and integration tests with Venus",
            arguments: &[
                "test",
                "--package=coherd",
                "--package=coherd-tests",
                "--features=coherd/venus,coherd-tests/venus",
                "--no-fail-fast",
            ],
            tests: true,
        },
    ];

    /// Runs the step on this machine.
    ///
    /// # Errors
    /// [`CargoError`] if cargo could not be started; a failed step is counted.
    pub fn run_on_host(&self, tally: &mut Tally) -> Result<(), CargoError> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.args(self.arguments);
        self.run(command, tally)
    }

    /// Runs the step inside the lab.
    ///
    /// # Errors
    /// As [`Step::run_on_host`].
    pub fn run_in_lab(&self, lab: &Lab, tally: &mut Tally) -> Result<(), CargoError> {
        self.run(lab.cargo(self.arguments), tally)
    }

    fn run(&self, mut command: Command, tally: &mut Tally) -> Result<(), CargoError> {
        let failed = |source| CargoError {
            step: self.name,
            source,
        };
        let stdout = if self.tests {
            Stdio::piped()
        } else {
            Stdio::inherit()
        };
        let mut child = command
            .env("RUSTDOCFLAGS", "-D warnings")
            .stdin(Stdio::null())
            .stdout(stdout)
            .spawn()
            .map_err(failed)?;
        let mut output = String::new();
        if let Some(pipe) = &mut child.stdout {
            pipe.read_to_string(&mut output).map_err(failed)?;
        }
        let passed = child.wait().map_err(failed)?.success();
        print!("{output}");
        let before = *tally;
        tally.add_output(&output);
        if !self.tests || (!passed && before.failed == tally.failed) {
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
