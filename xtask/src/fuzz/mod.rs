//! Hostile input: runs the fuzz targets of `tests/fuzz`, built inside the lab.

mod build;
mod output;
mod session;
mod target;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use self::session::Session;
use crate::lab::{Lab, LabError};
use crate::progress::Progress;

pub use self::build::{Fuzzers, Purpose, build};
pub use self::session::Outcome;
pub use self::target::Target;

/// Options of `cargo xtask fuzz`.
#[derive(Debug, Args)]
pub struct FuzzArgs {
    /// How long to look for new inputs, for each target
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u32,
    /// Run this one input instead
    #[arg(
        long,
        value_name = "FILE",
        requires = "targets",
        conflicts_with = "seconds"
    )]
    input: Option<PathBuf>,
    /// What to fuzz; everything if none is named
    #[arg(value_name = "TARGET")]
    targets: Vec<Target>,
}

/// Why a target was not run to its end.
#[derive(Debug, thiserror::Error)]
pub enum FuzzError {
    /// The lab does not work.
    #[error(transparent)]
    Lab(#[from] LabError),
    /// The targets do not build; the compiler has said why.
    #[error("the fuzz targets do not build")]
    Build,
    /// A file or a process could not be handled.
    #[error("cannot {action}")]
    Io {
        /// What was tried.
        action: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The lab shows the checkout and nothing else of the host.
    #[error("{0} is not in the checkout, which is all that the lab sees; copy it there")]
    Outside(PathBuf),
}

fn failed(action: impl Into<String>) -> impl FnOnce(std::io::Error) -> FuzzError {
    let action = action.into();
    move |source| FuzzError::Io { action, source }
}

/// Runs the command line.
///
/// # Errors
/// See [`FuzzError`]; an input that a target fails is the exit code.
pub fn run(args: &FuzzArgs, progress: &Progress) -> Result<ExitCode, FuzzError> {
    let lab = Lab::ensure(progress)?;
    let fuzzers = build(&lab, Purpose::Search, progress)?;
    let targets = match args.targets.as_slice() {
        [] => &Target::ALL,
        named => named,
    };
    let mut good = true;
    for target in targets {
        let session = Session::new(&lab, &fuzzers, *target);
        good &= match &args.input {
            Some(input) => session.replay(input)?,
            None => {
                progress.say(&format!("fuzzing {target} for {} s", args.seconds));
                let outcome = session.fuzz(args.seconds)?;
                println!("{outcome}");
                outcome.is_clean()
            }
        };
    }
    Ok(ExitCode::from(u8::from(!good)))
}

/// Runs every input of the repository, and looks for new ones for `seconds` per target.
///
/// # Errors
/// See [`FuzzError`]; an input that a target fails is an [`Outcome`].
pub fn smoke(
    lab: &Lab,
    fuzzers: &Fuzzers,
    target: Target,
    seconds: u32,
) -> Result<Outcome, FuzzError> {
    Session::new(lab, fuzzers, target).fuzz(seconds)
}
