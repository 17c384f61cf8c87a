//! Uses memory of coherd's blob context in Vulkan, from inside a guest.
//!
//! Ends with one line, `ok: ...` or `FAILED: ...`, and an exit status to match.

use std::process::ExitCode;

use clap::Parser;
use coherd_tests::guest::checks::{self, CheckError, EXPORT_EXTENSIONS};
use coherd_tests::guest::{Gpu, GpuOptions};

/// Uses memory of coherd's blob context in Vulkan.
#[derive(Debug, Parser)]
#[command(name = "vk-import")]
struct Options {
    /// Use the first device whose name contains this, in any case
    #[arg(long, value_name = "SUBSTRING")]
    device: Option<String>,
}

fn main() -> ExitCode {
    checks::verdict(run(&Options::parse()))
}

fn run(options: &Options) -> Result<String, CheckError> {
    let gpu = Gpu::open(&GpuOptions {
        device: options.device.as_deref(),
        optional_extensions: EXPORT_EXTENSIONS,
        ..GpuOptions::default()
    })?;
    eprintln!("device: {}", gpu.name());
    checks::import(&gpu)
}
