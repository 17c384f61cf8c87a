//! Keeps memory of coherd's blob context from inside a guest, and looks whether it stays as it is.
//!
//! Ends, if it does, with one line, `FAILED: ...`, and an exit status to match.

use std::process::ExitCode;

use clap::Parser;
use coherd_tests::guest::checks;

/// Keeps memory of coherd's blob context, and looks whether it stays as it is.
#[derive(Debug, Parser)]
#[command(name = "blob-keep")]
struct Options {
    /// Bytes of memory of each type, a multiple of 4096
    #[arg(long, value_name = "BYTES", default_value_t = 2 << 20)]
    size: u64,
}

fn main() -> ExitCode {
    checks::verdict(checks::keep(Options::parse().size))
}
