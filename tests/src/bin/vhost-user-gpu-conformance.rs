//! Runs the conformance suite against a vhost-user GPU.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Args, Parser, ValueEnum};
use coherd_tests::conformance::report::{Markdown, Table};
use coherd_tests::conformance::{
    Entry, Options, Renewal, Report, Target, TargetError, Verdict, all, run,
};
use thiserror::Error;

/// How long nothing may be said.
const SILENCE: Duration = Duration::from_secs(2);

/// Runs the conformance suite against a vhost-user GPU.
///
/// Exits with status 1 if a case failed or was not run.
#[derive(Debug, Parser)]
#[command(max_term_width = 100, args_override_self = true)]
struct Cli {
    #[command(flatten)]
    backend: BackendArgs,

    /// Run only cases whose names contain TEXT
    #[arg(long, value_name = "TEXT", default_value = "")]
    filter: String,

    /// List the cases with their sections and run none
    #[arg(long)]
    list: bool,

    /// What to print when all is done
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,

    /// Print reports of earlier runs, in JSON, side by side as Markdown, and run nothing
    #[arg(long, value_name = "REPORT", num_args = 1.., conflicts_with_all = ["socket", "command"])]
    compare: Vec<PathBuf>,

    /// Give the backend a display socket, as QEMU's vhost-user-gpu-pci does
    #[arg(long)]
    display_socket: bool,

    /// Fail cases that cannot see the pixels they are about
    #[arg(long)]
    require_pixels: bool,

    /// Seconds a case may take
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    timeout: u64,

    /// What the report calls the backend
    #[arg(long, default_value = "backend")]
    name: String,
}

#[derive(Debug, Args)]
struct BackendArgs {
    /// Connect to the backend that listens here; after its death no case is run
    #[arg(long, value_name = "PATH", conflicts_with = "command")]
    socket: Option<PathBuf>,

    /// Start a fresh backend for each case, not only after a death
    #[arg(long, requires = "command")]
    fresh: bool,

    /// Start this backend, with {socket} in place of the path where it has to listen
    #[arg(last = true)]
    command: Vec<OsString>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Markdown,
    Json,
}

/// Why nothing was run.
#[derive(Debug, Error)]
enum MainError {
    #[error("no backend: name its --socket, or its command line after --")]
    NoBackend,
    #[error("no case has {0:?} in its name; --list shows them all")]
    NoCase(String),
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error("cannot read the report {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is not a report", path.display())]
    Parse {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error("cannot write the report")]
    Encode(#[from] serde_json::Error),
    #[error("cannot print")]
    Print(#[from] io::Error),
}

fn main() -> ExitCode {
    match execute(&Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// `true` if every case passed that the backend has something for.
fn execute(cli: &Cli) -> Result<bool, MainError> {
    let mut out = io::stdout().lock();
    if !cli.compare.is_empty() {
        let reports = cli.compare.iter().map(read);
        let reports = reports.collect::<Result<Vec<Report>, _>>()?;
        write!(out, "{}", Markdown(&reports))?;
        return Ok(true);
    }
    let mut cases = all();
    cases.retain(|case| case.name.contains(&cli.filter));
    if cases.is_empty() {
        return Err(MainError::NoCase(cli.filter.clone()));
    }
    if cli.list {
        for case in &cases {
            writeln!(out, "{:<56} {}", case.name, case.source())?;
        }
        return Ok(true);
    }
    let mut target = target(&cli.backend)?;
    let options = Options {
        timeout: Duration::from_secs(cli.timeout),
        display: cli.display_socket,
        require_pixels: cli.require_pixels,
        ..Options::default()
    };
    let mut progress = Progress::new(cases.len());
    let report = run(&cli.name, &mut target, &options, &cases, &mut |entry| {
        progress.step(entry);
    });
    match cli.format {
        Format::Table => writeln!(out, "{}", Table(&report))?,
        Format::Markdown => write!(out, "{}", Markdown(std::slice::from_ref(&report)))?,
        Format::Json => {
            serde_json::to_writer_pretty(&mut out, &report)?;
            writeln!(out)?;
        }
    }
    Ok(report.is_success())
}

fn target(backend: &BackendArgs) -> Result<Target, MainError> {
    match (&backend.socket, backend.command.is_empty()) {
        (Some(path), _) => Ok(Target::socket(path)),
        (None, true) => Err(MainError::NoBackend),
        (None, false) => {
            let renewal = if backend.fresh {
                Renewal::EachCase
            } else {
                Renewal::WhenDead
            };
            Ok(Target::command(backend.command.clone(), renewal)?)
        }
    }
}

fn read(path: &PathBuf) -> Result<Report, MainError> {
    let text = fs::read_to_string(path).map_err(|source| MainError::Read {
        path: path.clone(),
        source,
    })?;
    serde_json::from_str(&text).map_err(|source| MainError::Parse {
        path: path.clone(),
        source,
    })
}

/// Failures as they come, and where the run is, on standard error.
struct Progress {
    done: usize,
    total: usize,
    said: Instant,
}

impl Progress {
    fn new(total: usize) -> Self {
        Self {
            done: 0,
            total,
            said: Instant::now(),
        }
    }

    fn step(&mut self, entry: &Entry) {
        self.done += 1;
        let bad = matches!(entry.verdict, Verdict::Failed | Verdict::NotRun);
        if !bad && self.said.elapsed() < SILENCE {
            return;
        }
        self.said = Instant::now();
        let Self { done, total, .. } = self;
        let (name, verdict, detail) = (&entry.name, entry.verdict, &entry.detail);
        eprintln!("[{done}/{total}] {verdict:<11} {name}: {detail}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_of_an_option_given_twice_counts() {
        let arguments = ["runner", "--timeout", "60", "--timeout", "5", "--", "gpu"];

        let cli = Cli::try_parse_from(arguments).unwrap();

        assert_eq!(cli.timeout, 5);
        assert_eq!(cli.backend.command, ["gpu"]);
    }

    #[test]
    fn all_reports_are_compared() {
        let arguments = ["runner", "--compare", "one", "--compare", "two", "three"];

        let cli = Cli::try_parse_from(arguments).unwrap();

        assert_eq!(cli.compare.len(), 3);
    }
}
