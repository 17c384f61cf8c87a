//! Entry point of `cargo xtask`.

use std::process::ExitCode;

use clap::Parser;
use xtask::cli::Cli;
use xtask::explain::one_line;

fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {}", one_line(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}
