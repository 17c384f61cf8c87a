//! Waits for the device's work by sync files, from inside a guest.
//!
//! Ends with one line, `ok: ...` or `FAILED: ...`, and an exit status to match. A driver that loses
//! its host may end the program before that.

use std::process::ExitCode;

use clap::Parser;
use coherd_tests::guest::checks::{self, CheckError, SYNC_FILE_EXTENSIONS};
use coherd_tests::guest::{Gpu, GpuOptions};

/// Waits for the device's work by sync files.
#[derive(Debug, Parser)]
#[command(name = "vk-sync")]
struct Options {
    /// Use the first device whose name contains this, in any case
    #[arg(long, value_name = "SUBSTRING")]
    device: Option<String>,
    /// Number of submissions
    #[arg(long, default_value_t = 30)]
    count: u64,
    /// Submit one that never ends instead
    #[arg(long)]
    hang: bool,
}

fn main() -> ExitCode {
    checks::verdict(run(&Options::parse()))
}

fn run(options: &Options) -> Result<String, CheckError> {
    let gpu = Gpu::open(&GpuOptions {
        device: options.device.as_deref(),
        optional_extensions: SYNC_FILE_EXTENSIONS,
        ..GpuOptions::default()
    })?;
    eprintln!("device: {}", gpu.name());
    match options.hang {
        true => checks::hang(&gpu),
        false => checks::sync_file(&gpu, options.count),
    }
}
