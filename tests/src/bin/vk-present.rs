//! Presents frames of known colours on a swapchain without a window, from inside a guest.
//!
//! Ends with one line, `ok: ...` or `FAILED: ...`, and an exit status to match. A driver that loses
//! its host may end the program before that.

use std::process::ExitCode;

use ash::vk;
use clap::{Parser, ValueEnum};
use coherd_tests::guest::checks::{
    self, CheckError, Expectation, Present, SWAPCHAIN_EXTENSIONS, SWAPCHAIN_INSTANCE_EXTENSIONS,
};
use coherd_tests::guest::{Gpu, GpuOptions};

/// Presents frames of known colours on a swapchain without a window.
#[derive(Debug, Parser)]
#[command(name = "vk-present")]
struct Options {
    /// Use the first device whose name contains this, in any case
    #[arg(long, value_name = "SUBSTRING")]
    device: Option<String>,
    /// Number of frames
    #[arg(long, default_value_t = 30)]
    frames: u32,
    /// Number of images, where the surface allows it
    #[arg(long, default_value_t = 3)]
    images: u32,
    /// Width in pixels
    #[arg(long, default_value_t = 320, value_parser = clap::value_parser!(u16).range(1..=4096))]
    width: u16,
    /// Height in pixels
    #[arg(long, default_value_t = 180, value_parser = clap::value_parser!(u16).range(1..=4096))]
    height: u16,
    /// Fail unless swapchains are offered, or hidden
    #[arg(long, value_enum)]
    expect: Option<ExpectOption>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ExpectOption {
    Offered,
    Hidden,
}

fn main() -> ExitCode {
    checks::verdict(run(&Options::parse()))
}

fn run(options: &Options) -> Result<String, CheckError> {
    let gpu = Gpu::open(&GpuOptions {
        device: options.device.as_deref(),
        optional_instance_extensions: SWAPCHAIN_INSTANCE_EXTENSIONS,
        optional_extensions: SWAPCHAIN_EXTENSIONS,
    })?;
    eprintln!("device: {}", gpu.name());
    let present = Present {
        frames: options.frames,
        images: options.images,
        extent: vk::Extent2D {
            width: options.width.into(),
            height: options.height.into(),
        },
    };
    checks::swapchain(&gpu, &present, options.expect.map(Into::into))
}

impl From<ExpectOption> for Expectation {
    fn from(option: ExpectOption) -> Self {
        match option {
            ExpectOption::Offered => Self::Offered,
            ExpectOption::Hidden => Self::Hidden,
        }
    }
}
