//! The program `coherd-guest`.

pub mod cli;

mod bench;
mod classify;
mod info;
mod measure;
mod ordinary;
mod probe;
mod processor;
mod selftest;
mod table;
mod traps;
mod words;

use std::error::Error;
use std::process::ExitCode;

use cli::{Cli, Task};

use crate::{Context, OpenError, Options};

/// Does what the command line says.
#[must_use]
pub fn run(cli: &Cli) -> ExitCode {
    let done = match &cli.task {
        Task::Info(options) => info::run(&cli.device, options),
        Task::Bench(options) => bench::run(&cli.device, options),
        Task::Selftest(options) => selftest::run(&cli.device, options),
    };
    done.unwrap_or_else(|error| {
        println!("FAILED: {}", one_line(error.as_ref()));
        ExitCode::FAILURE
    })
}

/// Opens a context of the device that the command line names.
fn open(device: &cli::Device) -> Result<Context, OpenError> {
    Context::with_options(&Options {
        render_node: device.device.clone(),
        ..Options::default()
    })
}

/// An error and its causes in one line.
fn one_line(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line += &format!(": {error}");
        cause = error.source();
    }
    line
}
