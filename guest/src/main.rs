//! Looks at the host's memory from inside a guest of coherd.

use std::process::ExitCode;

use clap::Parser;
use coherd_guest::tool::{self, cli::Cli};

fn main() -> ExitCode {
    tool::run(&Cli::parse())
}
