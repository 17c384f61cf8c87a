//! The conformance suite: its runner, started on the backends of the lab or on any other.

mod backend;
mod tally;

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};

use clap::Args;

use self::backend::Backend;
pub use self::tally::{Counts, ReportError};
use crate::coherd::{self, CoherdError};
use crate::lab::{Lab, LabError};
use crate::progress::Progress;

/// The runner's binary.
const RUNNER: &str = "vhost-user-gpu-conformance";

/// The cases of things that Venus has not, see `docs/conformance.md`. Any other case that coherd
/// does not support means that it lost a feature.
const UNSUPPORTED_BY_VENUS: [&str; 6] = [
    "3d/create-texture",
    "3d/texture-keeps-what-is-transferred",
    "blob/host-memory-that-is-never-mapped",
    "blob/host-memory-shareable",
    "map-misuse/map-what-is-not-mappable",
    "request/short-resource-create-3d",
];

/// Why the suite could not be run.
#[derive(Debug, thiserror::Error)]
pub enum ConformanceError {
    /// The lab does not work.
    #[error(transparent)]
    Lab(#[from] LabError),
    /// coherd or the runner could not be built in the lab.
    #[error(transparent)]
    Coherd(#[from] CoherdError),
    /// The runner could not be started.
    #[error("cannot start the conformance suite")]
    Start(#[source] io::Error),
    /// The report could not be kept.
    #[error("cannot keep the report of the conformance suite")]
    Keep(#[source] io::Error),
    /// The report makes no sense.
    #[error("conformance suite left no report ({status})")]
    NoReport {
        /// How the runner ended.
        status: ExitStatus,
        /// What is wrong with its output.
        source: ReportError,
    },
    /// No case failed, and yet the runner did.
    #[error("conformance suite ended with {0}, although no case failed")]
    Runner(ExitStatus),
}

/// What to run the suite against, and how.
#[derive(Debug, Args)]
pub struct ConformanceArgs {
    /// Test the backend that listens here, rather than one of the lab's
    #[arg(long, value_name = "PATH", conflicts_with = "backend")]
    socket: Option<PathBuf>,
    /// Test this backend; several are shown side by side, as Markdown
    #[arg(long, value_enum, default_values_t = [Backend::Coherd])]
    backend: Vec<Backend>,
    /// Further options of the runner, such as --filter TEXT or --format json; --help shows them
    #[arg(last = true)]
    options: Vec<String>,
}

/// Runs the suite; `true` if no case failed.
///
/// # Errors
/// See [`ConformanceError`].
pub fn run(args: &ConformanceArgs, progress: &Progress) -> Result<bool, ConformanceError> {
    if let Some(socket) = &args.socket {
        let mut command = on_host();
        command.arg("--socket").arg(socket).args(&args.options);
        return finish(&mut command).map(|status| status.success());
    }
    let lab = Lab::ensure(progress)?;
    coherd::build(&lab, progress)?;
    match args.backend.as_slice() {
        [one] => {
            let mut command = in_lab(&lab, *one, &args.options);
            finish(&mut command).map(|status| status.success())
        }
        several => compare(&lab, several, &args.options, progress),
    }
}

/// Runs the suite against coherd, as CI does, and counts. Cases that are left out for another
/// reason than that Venus has nothing for them count as failed.
///
/// # Errors
/// See [`ConformanceError`].
pub fn check(lab: &Lab, progress: &Progress) -> Result<Counts, ConformanceError> {
    let (status, report) = report(lab, Backend::Coherd, &[], progress)?;
    let counts = Counts::of(&report, &UNSUPPORTED_BY_VENUS)
        .map_err(|source| ConformanceError::NoReport { status, source })?;
    if counts.failed == 0 && !status.success() {
        return Err(ConformanceError::Runner(status));
    }
    Ok(counts)
}

/// Runs the suite against each backend in turn; the exit status is that of the first.
fn compare(
    lab: &Lab,
    backends: &[Backend],
    options: &[String],
    progress: &Progress,
) -> Result<bool, ConformanceError> {
    let mut command = lab.command(coherd::program(RUNNER));
    command.arg("--compare");
    let mut success = true;
    for (number, backend) in backends.iter().enumerate() {
        let (status, text) = report(lab, *backend, options, progress)?;
        let path = lab.run_dir().join(format!("report{number}.json"));
        fs::write(&path, text).map_err(ConformanceError::Keep)?;
        command.arg(path);
        if number == 0 {
            success = status.success();
        }
    }
    Ok(finish(&mut command)?.success() && success)
}

/// Runs the suite and returns the report in JSON.
fn report(
    lab: &Lab,
    backend: Backend,
    options: &[String],
    progress: &Progress,
) -> Result<(ExitStatus, String), ConformanceError> {
    let name = backend.name(lab);
    progress.say(&format!("conformance of {name}"));
    let path = lab.run_dir().join("report.json");
    let file = File::create(&path).map_err(ConformanceError::Keep)?;
    let mut json = options.to_vec();
    json.extend(["--format", "json"].map(str::to_owned));
    let status = finish(in_lab(lab, backend, &json).stdout(file))?;
    let text = fs::read_to_string(&path).map_err(ConformanceError::Keep)?;
    Ok((status, text))
}

/// The runner on a backend that it starts, inside the lab.
fn in_lab(lab: &Lab, backend: Backend, options: &[String]) -> Command {
    let mut command = lab.command(coherd::program(RUNNER));
    command
        .arg("--name")
        .arg(backend.name(lab))
        .args(backend.options())
        .args(options)
        .arg("--")
        .args(backend.command());
    command
}

/// The runner, built and started here.
fn on_host() -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args([
        "run",
        "--quiet",
        "--package=coherd-tests",
        "--bin",
        RUNNER,
        "--",
    ]);
    command
}

fn finish(command: &mut Command) -> Result<ExitStatus, ConformanceError> {
    command
        .stdin(Stdio::null())
        .status()
        .map_err(ConformanceError::Start)
}
