//! One run of one target.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::build::{CRATE, Fuzzers};
use super::output::{self, Figures};
use super::target::Target;
use super::{FuzzError, failed};
use crate::lab::{Lab, SOURCE, TARGET};

/// Longest input, in bytes; commands refer to commands a few hundred bytes before.
const MAX_LEN: u32 = 4096;
/// Seconds after which an input hangs.
const TIMEOUT: u32 = 20;
/// Lines that are shown of a failure.
const SHOWN: usize = 40;

/// What came of a run.
#[derive(Debug)]
pub struct Outcome {
    /// What was run.
    pub target: Target,
    figures: Figures,
    failure: Option<Failure>,
}

#[derive(Debug)]
struct Failure {
    /// Below the checkout.
    input: Option<PathBuf>,
    text: String,
}

impl Outcome {
    /// Whether every known input ran and none failed.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.failure.is_none()
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Figures {
            executions,
            rate,
            coverage,
            features,
            corpus,
        } = self.figures;
        let target = self.target;
        let Some(failure) = &self.failure else {
            return write!(
                f,
                "{target:<11} {executions:>9} executions, {rate:>6}/s, \
                 coverage {coverage} edges, {features} features, corpus {corpus} inputs"
            );
        };
        writeln!(f, "{target:<11} FAILED after {executions} executions")?;
        for line in failure.text.lines().take(SHOWN) {
            writeln!(f, "  {line}")?;
        }
        match &failure.input {
            Some(input) => write!(
                f,
                "input: {}\nagain: cargo xtask fuzz {target} --input {0}",
                input.display()
            ),
            None => write!(f, "no input was left"),
        }
    }
}

/// One target, ready to run.
#[derive(Debug)]
pub struct Session<'lab> {
    lab: &'lab Lab,
    program: PathBuf,
    target: Target,
}

impl<'lab> Session<'lab> {
    /// A session of a target that is built.
    #[must_use]
    pub fn new(lab: &'lab Lab, fuzzers: &Fuzzers, target: Target) -> Self {
        Self {
            lab,
            program: fuzzers.program(target),
            target,
        }
    }

    /// Runs every input that is known, then looks for new ones for so many seconds more.
    ///
    /// What is found stays in the target folder and is where the next run begins.
    ///
    /// # Errors
    /// [`FuzzError::Io`], also if the repository has no corpus of the target.
    pub fn fuzz(&self, seconds: u32) -> Result<Outcome, FuzzError> {
        let artifacts = self.crate_folder("artifacts");
        let found = self.found();
        for folder in [&artifacts, &found] {
            let folder = self.on_host(folder);
            fs::create_dir_all(&folder)
                .map_err(failed(format!("create the folder {}", folder.display())))?;
        }
        // libFuzzer writes what it finds to the first.
        let mut folders = vec![found, self.crate_folder("corpus")];
        let regressions = self.crate_folder("regressions");
        if self.on_host(&regressions).exists() {
            folders.push(regressions);
        }

        let known = self.inputs_in(&folders)?;
        let began = Instant::now();
        let mut outcome = self.search(&folders, &["-runs=0".to_owned()])?;
        // libFuzzer begins with an empty input of its own.
        let ran = outcome.figures.executions.saturating_sub(1);
        if outcome.is_clean() && (known == 0 || ran < known) {
            outcome.failure = Some(Failure {
                input: None,
                text: format!("{known} inputs are known, of which {ran} ran"),
            });
        }
        if seconds == 0 || !outcome.is_clean() {
            return Ok(outcome);
        }
        // A search begins with the same inputs, and libFuzzer counts their time too.
        let time = began.elapsed() + Duration::from_secs(seconds.into());
        let limit = format!("-max_total_time={}", time.as_secs() + 1);
        self.search(&folders, &[limit])
    }

    /// One run of libFuzzer over `folders`.
    fn search(&self, folders: &[PathBuf], limits: &[String]) -> Result<Outcome, FuzzError> {
        let artifacts = self.crate_folder("artifacts");
        let output = self
            .command()
            .args(limits)
            .arg(format!("-max_len={MAX_LEN}"))
            // Short inputs are over before anything can go wrong.
            .arg("-len_control=0")
            .arg(format!("-artifact_prefix={}/", artifacts.display()))
            .arg("-print_final_stats=1")
            .args(folders)
            .stdin(Stdio::null())
            .output()
            .map_err(failed(format!("start {} in the lab", self.target)))?;
        let text = String::from_utf8_lossy(&output.stderr);
        let failure = (!output.status.success()).then(|| Failure {
            input: output::artifact(&text).map(|path| below_checkout(Path::new(path))),
            text: output::complaint(&text).unwrap_or(&text).to_owned(),
        });
        Ok(Outcome {
            target: self.target,
            figures: Figures::read(&text),
            failure,
        })
    }

    /// Where inputs are kept that were found by earlier runs.
    fn found(&self) -> PathBuf {
        let folder = Path::new(TARGET).join("fuzz/corpus");
        folder.join(self.target.name())
    }

    /// The target's folder of this kind in the repository.
    fn crate_folder(&self, kind: &str) -> PathBuf {
        let folder = Path::new(SOURCE).join(CRATE).join(kind);
        folder.join(self.target.name())
    }

    /// Counts the files in `folders`.
    fn inputs_in(&self, folders: &[PathBuf]) -> Result<u64, FuzzError> {
        let mut count = 0;
        for folder in folders {
            let folder = self.on_host(folder);
            let files = fs::read_dir(&folder)
                .map_err(failed(format!("list the inputs in {}", folder.display())))?;
            count += u64::try_from(files.count()).unwrap_or(u64::MAX);
        }
        Ok(count)
    }

    /// Runs one input, with its output on the terminal; `true` if it is harmless.
    ///
    /// # Errors
    /// [`FuzzError::Outside`] and [`FuzzError::Io`].
    pub fn replay(&self, input: &Path) -> Result<bool, FuzzError> {
        let input = input
            .canonicalize()
            .map_err(failed(format!("find {}", input.display())))?;
        let checkout = self.lab.checkout();
        let inside = checkout
            .canonicalize()
            .ok()
            .and_then(|checkout| input.strip_prefix(checkout).ok().map(Path::to_owned))
            .ok_or_else(|| FuzzError::Outside(input.clone()))?;
        let status = self
            .command()
            .arg(Path::new(SOURCE).join(inside))
            .status()
            .map_err(failed(format!("start {} in the lab", self.target)))?;
        Ok(status.success())
    }

    /// The program, which takes an input that hangs for one that fails.
    fn command(&self) -> Command {
        let mut command = self.lab.command(&self.program);
        // Leaks show in the target's own counts and in libFuzzer's limit on memory; finding them
        // at exit takes ptrace, which not every machine allows.
        command.env("ASAN_OPTIONS", "detect_leaks=0:allocator_may_return_null=1");
        command.arg(format!("-timeout={TIMEOUT}"));
        command
    }

    /// A path below the checkout as the host sees it.
    fn on_host(&self, inside: &Path) -> PathBuf {
        self.lab.checkout().join(below_checkout(inside))
    }
}

fn below_checkout(inside: &Path) -> PathBuf {
    inside.strip_prefix(SOURCE).unwrap_or(inside).to_owned()
}
