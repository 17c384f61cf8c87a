//! Checks and measures the memory of a Vulkan device, on any machine: this program needs libc and
//! a Vulkan loader with a driver, and nothing else of this project.

use std::error::Error;
use std::process::ExitCode;

use clap::Parser;
use coherd::explain::one_line;
use coherd_tests::memory::report::Report;
use coherd_vulkan::{Device, Options, Selector};

/// Checks that every memory type of a GPU behaves as coherd believes, and measures it.
///
/// For each memory type and each way to its bytes (vkMapMemory, and an mmap of the file that is
/// exported) the CPU and the GPU write in turn and look at what the other wrote, with flush and
/// invalidate and without. Then the CPU's loads and stores, flush and invalidate are timed.
///
/// Prints a table in Markdown. The exit status is 1 if anything was not as it should be.
#[derive(Debug, Parser)]
#[command(name = "gpu-check", version)]
struct Cli {
    /// Check the device whose name contains this, in any case; without it the first GPU, else the
    /// CPU's driver
    #[arg(long, value_name = "NAME")]
    device: Option<String>,
    /// MiB of each memory type to work on
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u64).range(1..=1024))]
    mib: u64,
    /// Vulkan layers to put above the driver
    #[arg(long, value_name = "LAYER")]
    layer: Vec<String>,
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(true) => {
            println!("gpu-check: ok");
            ExitCode::SUCCESS
        }
        Ok(false) => {
            println!("gpu-check: FAILED, see the table");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("error: {}", one_line(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<bool, Box<dyn Error>> {
    let selector = cli.device.clone().map_or(Selector::Any, Selector::Name);
    let options = Options {
        layers: cli.layer.clone(),
        ..Options::default()
    };
    let device = Device::open(&selector, &options)?;
    let report = Report::of(&device, cli.mib << 20)?;
    println!("{report}");
    Ok(report.is_right())
}
