//! Checks memory that a program shares with the device, from inside a guest.
//!
//! Every check ends with one line, `ok: ...` or `FAILED: ...`, and an exit status to match.

use std::env;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use coherd_tests::guest::checks::{
    self, CheckError, Churn, EXPORT_EXTENSIONS, Expectation, ExportHandle, FreshMaps, Hold,
};
use coherd_tests::guest::{Gpu, GpuOptions};

/// Checks memory that a program shares with the device.
#[derive(Debug, Parser)]
#[command(name = "vk-memory")]
struct Options {
    /// Use the first device whose name contains this, in any case
    #[arg(long, global = true, value_name = "SUBSTRING")]
    device: Option<String>,
    #[command(subcommand)]
    check: Check,
}

#[derive(Debug, Subcommand)]
enum Check {
    /// Bytes through a copy and a shader and back, 1 byte to 64 MiB, in every host-visible type
    Roundtrip,
    /// Fresh maps whose very first access is a write that must not get lost
    FreshMaps {
        /// Maps to make
        #[arg(long, default_value_t = 8000)]
        count: u64,
        /// Maps kept while the next ones are made
        #[arg(long, default_value_t = 0)]
        live: usize,
        /// The device too reads one of so many maps; 0 for none
        #[arg(long, default_value_t = 64, value_name = "K")]
        device_every: u64,
        #[command(flatten)]
        allocation: Allocation,
    },
    /// Allocations that come and go while others must keep their bytes
    Churn {
        /// How long to work; pauses of the whole machine do not count
        #[arg(long, default_value_t = 10)]
        seconds: u64,
        /// End after so many iterations even so
        #[arg(long)]
        iterations: Option<u64>,
        /// Live allocations
        #[arg(long, default_value_t = 64)]
        live: usize,
        /// Where the sequence of choices begins
        #[arg(long, default_value_t = 1)]
        seed: u64,
        #[command(flatten)]
        allocation: Allocation,
    },
    /// Allocations that stay until the end of standard input, or a signal that kills
    Hold {
        /// Live allocations
        #[arg(long, default_value_t = 64)]
        live: usize,
        /// Stay so long instead of reading standard input
        #[arg(long)]
        seconds: Option<u64>,
        #[command(flatten)]
        allocation: Allocation,
    },
    /// Memory that is exported, imported again, and seen from both sides
    Export {
        /// Fail unless every kind of handle is offered, or hidden
        #[arg(long, value_enum)]
        expect: Option<ExpectOption>,
        /// Kinds of handles to check
        #[arg(long, value_enum, default_values = ["opaque-fd", "dma-buf"], value_delimiter = ',')]
        handle: Vec<HandleOption>,
    },
}

#[derive(Args, Clone, Copy, Debug)]
struct Allocation {
    /// Bytes of each allocation
    #[arg(long, default_value_t = 65536)]
    size: u64,
    /// Index of the memory type; a host-visible one by default
    #[arg(long, value_name = "INDEX")]
    memory_type: Option<u32>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ExpectOption {
    Offered,
    Hidden,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum HandleOption {
    OpaqueFd,
    DmaBuf,
}

fn main() -> ExitCode {
    let options = Options::parse();
    request_whole_allocations();
    checks::verdict(run(&options))
}

/// Has Venus give each allocation a blob of its own: drivers before Mesa 26 put small ones
/// together, and then few allocations would be maps.
fn request_whole_allocations() {
    const OPTION: &str = "no_memory_suballoc";
    let value = match env::var("VN_PERF") {
        Ok(others) if !others.is_empty() => format!("{others},{OPTION}"),
        _ => OPTION.to_owned(),
    };
    // SAFETY: no other thread exists yet that could read the environment.
    unsafe { env::set_var("VN_PERF", value) };
}

fn run(options: &Options) -> Result<String, CheckError> {
    let optional_extensions = match options.check {
        Check::Export { .. } => EXPORT_EXTENSIONS,
        _ => &[],
    };
    let gpu = Gpu::open(&GpuOptions {
        device: options.device.as_deref(),
        optional_extensions,
        ..GpuOptions::default()
    })?;
    eprintln!("device: {}", gpu.name());
    match &options.check {
        Check::Roundtrip => checks::roundtrip(&gpu),
        Check::FreshMaps {
            count,
            live,
            device_every,
            allocation,
        } => checks::fresh_maps(
            &gpu,
            &FreshMaps {
                count: *count,
                size: allocation.size,
                live: *live,
                device_every: *device_every,
                type_index: allocation.memory_type,
            },
        ),
        Check::Churn {
            seconds,
            iterations,
            live,
            seed,
            allocation,
        } => checks::churn(
            &gpu,
            &Churn {
                time: Duration::from_secs(*seconds),
                iterations: *iterations,
                live: *live,
                size: allocation.size,
                seed: *seed,
                type_index: allocation.memory_type,
            },
        ),
        Check::Hold {
            live,
            seconds,
            allocation,
        } => checks::hold(
            &gpu,
            &Hold {
                live: *live,
                size: allocation.size,
                time: seconds.map(Duration::from_secs),
                type_index: allocation.memory_type,
            },
        ),
        Check::Export { expect, handle } => {
            let handles: Vec<_> = handle.iter().map(|handle| (*handle).into()).collect();
            checks::export(&gpu, &handles, expect.map(Into::into))
        }
    }
}

impl From<ExpectOption> for Expectation {
    fn from(option: ExpectOption) -> Self {
        match option {
            ExpectOption::Offered => Self::Offered,
            ExpectOption::Hidden => Self::Hidden,
        }
    }
}

impl From<HandleOption> for ExportHandle {
    fn from(option: HandleOption) -> Self {
        match option {
            HandleOption::OpaqueFd => Self::OpaqueFd,
            HandleOption::DmaBuf => Self::DmaBuf,
        }
    }
}
