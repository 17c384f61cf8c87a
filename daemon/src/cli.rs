//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use tracing::level_filters::LevelFilter;

use crate::size;

/// Smallest window: QEMU's smallest BAR for it.
const MIN_WINDOW: u64 = 1 << 20;
/// Largest window that has been seen to work in QEMU.
const MAX_WINDOW: u64 = 1 << 40;
/// QEMU aborts at 512 memory regions, those of its RAM included.
const MAX_MAP_BUDGET: u64 = 32_000;

/// A GPU for one virtual machine, as a vhost-user back-end.
///
/// Start coherd, then point the VMM at its socket. One process serves one VM and ends with exit
/// status 0 when the VMM hangs up. SIGTERM ends it; SIGUSR1 makes it log what the guest holds.
#[derive(Debug, Parser)]
#[command(name = "coherd", version, about, max_term_width = 100)]
pub struct Cli {
    /// Listen on this unix socket; a stale one is replaced
    #[arg(long, value_name = "PATH", conflicts_with = "fd")]
    pub socket_path: Option<PathBuf>,

    /// Serve on this inherited unix socket, listening or connected
    #[arg(long, value_name = "N")]
    pub fd: Option<i32>,

    /// Print the capabilities of this back-end as JSON and exit
    #[arg(long)]
    pub print_capabilities: bool,

    /// Use the GPU of this DRM render node (default: the first GPU, else software)
    #[arg(long, value_name = "PATH")]
    pub render_node: Option<PathBuf>,

    /// What to render with
    #[arg(long, value_enum, default_value_t = RendererKind::Venus)]
    pub renderer: RendererKind,

    /// Size of the guest's window on host memory, a power of two
    #[arg(long, value_name = "SIZE", default_value = "4G", value_parser = window_size)]
    pub window_size: u64,

    /// Blobs that may be mapped into the guest at a time (QEMU aborts above about 500)
    #[arg(long, value_name = "N", default_value_t = 480,
          value_parser = clap::value_parser!(u64).range(1..=MAX_MAP_BUDGET))]
    pub map_budget: u64,

    /// Offer memory slots: QEMU's stop and cont work with more than 5 mapped blobs, but a hard
    /// reset with mapped blobs crashes QEMU 11.1
    #[arg(long)]
    pub mem_slots: bool,

    /// Least important messages to log on stderr
    #[arg(long, value_name = "LEVEL", default_value = "info",
          value_parser = ["off", "error", "warn", "info", "debug", "trace"])]
    log_level: String,
}

/// What to render with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RendererKind {
    /// Vulkan for unmodified guests
    Venus,
    /// A framebuffer and nothing else
    #[value(name = "2d")]
    TwoD,
}

impl Cli {
    /// The level of `--log-level`.
    pub fn log_level(&self) -> LevelFilter {
        self.log_level.parse().unwrap_or(LevelFilter::INFO)
    }
}

/// The answer to `--print-capabilities`, `vhost-user.json` of QEMU. It has no word for Venus, and
/// `virgl` is another renderer.
pub fn capabilities() -> &'static str {
    r#"{
  "type": "gpu",
  "features": [
    "render-node"
  ]
}"#
}

fn window_size(text: &str) -> Result<u64, String> {
    let size = size::parse(text).map_err(|error| error.to_string())?;
    if !size.is_power_of_two() || !(MIN_WINDOW..=MAX_WINDOW).contains(&size) {
        return Err("must be a power of two from 1M to 1T".into());
    }
    Ok(size)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn window_size_must_be_a_power_of_two() {
        assert_eq!(window_size("1G"), Ok(1 << 30));
        for text in ["3G", "512K", "2T", "x"] {
            assert!(window_size(text).is_err(), "{text}");
        }
    }
}
