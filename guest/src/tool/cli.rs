//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Looks at the host's memory from inside a guest of coherd.
///
/// Exit status: 0 if all was well, 1 if not, 2 for a command line that is none. The last line that
/// is printed says which, as `ok: ...` or `FAILED: ...`, unless JSON was asked for.
#[derive(Debug, Parser)]
#[command(name = "coherd-guest", version, about, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    pub(super) device: Device,
    #[command(subcommand)]
    pub(super) task: Task,
}

#[derive(Args, Debug)]
pub(super) struct Device {
    /// Use this render node rather than the first that is a virtio-gpu of coherd
    #[arg(long, global = true, value_name = "PATH")]
    pub device: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Task {
    /// Which memory the host offers, how each type is cached as the host promises and as it is
    /// measured here, and what in this guest makes a difference
    Info(Info),
    /// How fast mapped memory is, beside ordinary memory of this guest, and what brackets and
    /// copies cost
    Bench(Bench),
    /// Checks of memory, brackets, copies, images and sharing, for every type of memory
    Selftest(Selftest),
}

#[derive(Args, Debug)]
pub(super) struct Info {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Bytes of the memory that is measured
    #[arg(long, value_name = "SIZE", default_value = "4M", value_parser = size)]
    pub size: u64,
    /// Times that each type is measured
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: u32,
}

#[derive(Args, Debug)]
pub(super) struct Bench {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Bytes of the memory that is measured; it should be larger than the processor's caches
    #[arg(long, value_name = "SIZE", default_value = "32M", value_parser = size)]
    pub size: u64,
    /// Times that each type is measured; the median counts
    #[arg(long, value_name = "N", default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: u32,
    /// Fail unless loads and stores of each cached type are at least so fast, as a part of
    /// ordinary memory's
    #[arg(long, value_name = "RATIO", value_parser = ratio)]
    pub expect_ratio: Option<f64>,
}

#[derive(Args, Debug)]
pub(super) struct Selftest {
    /// Bytes of the largest memory that is checked
    #[arg(long, value_name = "SIZE", default_value = "64M", value_parser = size)]
    pub max_size: u64,
    /// Leave brackets out. On a host where they matter the checks of types that need them fail
    #[arg(long)]
    pub without_sync: bool,
    /// Leave brackets out, and fail unless the bytes of every type that needs them are stale: on a
    /// host with such types it proves that the other checks can fail
    #[arg(long)]
    pub expect_stale: bool,
    /// Only checks whose names contain this
    #[arg(long, value_name = "TEXT")]
    pub only: Option<String>,
}

/// A number of bytes with an optional suffix K, M or G.
fn size(text: &str) -> Result<u64, String> {
    let (digits, shift) = match text.char_indices().last() {
        Some((end, 'K' | 'k')) => (text.get(..end), 10),
        Some((end, 'M' | 'm')) => (text.get(..end), 20),
        Some((end, 'G' | 'g')) => (text.get(..end), 30),
        _ => (Some(text), 0),
    };
    let number: Option<u64> = digits.and_then(|digits| digits.parse().ok());
    let bytes = number.and_then(|number| number.checked_mul(1 << shift));
    bytes
        .filter(|bytes| (4096..=1 << 40).contains(bytes))
        .ok_or_else(|| "not from 4K to 1024G, a number with K, M or G behind it".to_owned())
}

/// A part of something, above zero.
fn ratio(text: &str) -> Result<f64, String> {
    let ratio: Option<f64> = text.parse().ok();
    ratio
        .filter(|ratio| ratio.is_finite() && *ratio > 0.0)
        .ok_or_else(|| "not a number above zero, such as 0.95".to_owned())
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
    fn sizes_have_units_and_limits() {
        assert_eq!(size("4096"), Ok(4096));
        assert_eq!(size("64M"), Ok(64 << 20));
        assert_eq!(size("2g"), Ok(2 << 30));
        for text in [
            "",
            "K",
            "4095",
            "-1",
            "1.5G",
            "2000G",
            "99999999999999999999",
        ] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn ratios_are_numbers_above_zero() {
        assert_eq!(ratio("0.95"), Ok(0.95));
        for text in ["0", "-1", "NaN", "inf", "x"] {
            assert!(ratio(text).is_err(), "{text}");
        }
    }

    #[test]
    fn device_can_stand_behind_the_task() {
        let cli = Cli::parse_from(["coherd-guest", "info", "--device", "/dev/dri/renderD129"]);
        assert_eq!(
            cli.device.device.unwrap(),
            PathBuf::from("/dev/dri/renderD129")
        );
    }
}
