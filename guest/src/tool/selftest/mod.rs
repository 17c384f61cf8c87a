//! `coherd-guest selftest`
//!
//! Every check is one line, `PASS`, `FAIL` or `SKIPPED`, and the last line says how it went.

mod images;
mod memory;
mod mistakes;
mod movement;
mod pattern;
mod runner;
mod sharing;
mod stale;

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

use movement::Brackets;
use runner::Runner;

use super::cli::{Device, Selftest};
use super::{open, words};
use crate::{Context, OpenError};

/// Where the checks happen.
#[derive(Debug)]
struct Place {
    /// A context.
    context: Context,
    /// Another one of the same device.
    other: Context,
    /// Bytes of the largest memory.
    max_size: u64,
    /// Whether accesses are put in brackets.
    brackets: Brackets,
}

/// Runs the checks.
pub fn run(device: &Device, options: &Selftest) -> Result<ExitCode, Box<dyn Error>> {
    let passed = check(|| open(device), options, &mut io::stdout().lock())?;
    Ok(match passed {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// Runs the checks on contexts that `open` opens, and tells whether all passed.
fn check(
    open: impl Fn() -> Result<Context, OpenError>,
    options: &Selftest,
    out: &mut dyn Write,
) -> Result<bool, Box<dyn Error>> {
    let place = Place {
        context: open()?,
        other: open()?,
        max_size: options.max_size,
        brackets: match options.without_sync || options.expect_stale {
            true => Brackets::LeftOut,
            false => Brackets::Made,
        },
    };
    let host = place.context.host();
    writeln!(out, "device: {}", host.name)?;
    let mut runner = Runner::new(options.only.as_deref(), out);
    for kind in words::distinct(&host.types) {
        match options.expect_stale {
            true => stale::check_type(&mut runner, &place, kind)?,
            false => memory::check_type(&mut runner, &place, kind)?,
        }
    }
    if place.brackets == Brackets::Made {
        images::check(&mut runner, &place)?;
        sharing::check(&mut runner, &place)?;
        mistakes::check(&mut runner, &place)?;
    }
    let required = options
        .expect_stale
        .then_some("no type of this host needs brackets");
    Ok(runner.finish(required)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryProperties;
    use crate::fake::{FakeHost, Fault};
    use coherd_protocol::blob_context::Status;
    use coherd_protocol::blob_context::command::opcode;

    fn options() -> Selftest {
        Selftest {
            max_size: 1 << 20,
            without_sync: false,
            expect_stale: false,
            only: None,
        }
    }

    fn said(host: &FakeHost, options: &Selftest) -> (bool, String) {
        let mut out = Vec::new();
        let passed = check(|| Ok(host.open()), options, &mut out).unwrap();
        (passed, String::from_utf8(out).unwrap())
    }

    fn last(said: &str) -> &str {
        said.lines().last().unwrap()
    }

    #[test]
    fn good_host_passes_every_check() {
        let host = FakeHost::new();
        let (passed, said) = said(&host, &options());
        assert!(passed, "{said}");
        assert!(last(&said).starts_with("ok: "), "{said}");
        assert!(
            !said.contains("FAIL") && !said.contains("SKIPPED"),
            "{said}"
        );
        assert_eq!(host.holdings(), (0, 0));
    }

    #[test]
    fn checks_fail_without_brackets_where_they_matter_and_only_there() {
        let options = Selftest {
            without_sync: true,
            ..options()
        };
        let (passed, told) = said(&FakeHost::new(), &options);
        assert!(!passed && last(&told).starts_with("FAILED: "), "{told}");
        let failed: Vec<_> = told
            .lines()
            .filter(|line| line.starts_with("FAIL "))
            .collect();
        assert!(
            failed
                .iter()
                .all(|line| line.contains("type 3") || line.contains("type 4")),
            "{told}"
        );
        assert!(failed.iter().any(|line| line.contains("type 3")), "{told}");

        let coherent = FakeHost::with_types(&[MemoryProperties::all()]);
        let (passed, told) = said(&coherent, &options);
        assert!(passed, "{told}");
    }

    #[test]
    fn stale_bytes_are_found_where_they_have_to_be() {
        let options = Selftest {
            expect_stale: true,
            ..options()
        };
        let (passed, told) = said(&FakeHost::new(), &options);
        assert!(passed, "{told}");
        assert!(
            told.lines().any(|line| line.starts_with("PASS type 4")),
            "{told}"
        );

        let coherent = FakeHost::with_types(&[MemoryProperties::all()]);
        let (passed, told) = said(&coherent, &options);
        assert!(!passed, "{told}");
        assert_eq!(last(&told), "FAILED: no type of this host needs brackets");
    }

    #[test]
    fn host_that_refuses_fails_the_checks_with_its_status() {
        let host = FakeHost::new();
        host.fail(Fault::Refuse(opcode::FILL, Status::DeviceLost));
        let (passed, said) = said(&host, &options());
        assert!(!passed);
        assert!(
            said.contains("cannot fill on the GPU: the host refuses: device was lost"),
            "{said}"
        );
    }

    #[test]
    fn filter_chooses_checks_by_their_names() {
        let only = Selftest {
            only: Some("image".into()),
            ..options()
        };
        let (passed, told) = said(&FakeHost::new(), &only);
        assert!(passed, "{told}");
        let lines: Vec<_> = told
            .lines()
            .filter(|line| line.starts_with("PASS"))
            .collect();
        assert!(lines.len() > 2, "{told}");
        assert!(lines.iter().all(|line| line.contains("image")), "{told}");
    }

    #[test]
    fn host_without_images_skips_them_with_a_reason() {
        let host = FakeHost::new();
        host.fail(Fault::NoImages);
        let (passed, told) = said(&host, &options());
        assert!(passed, "{told}");
        assert!(
            told.contains("SKIPPED images: the host makes none"),
            "{told}"
        );
        assert!(last(&told).ends_with("checks, 2 skipped"), "{told}");
    }

    #[test]
    fn filter_that_fits_nothing_is_no_success() {
        let only = Selftest {
            only: Some("no such check".into()),
            ..options()
        };
        let (passed, told) = said(&FakeHost::new(), &only);
        assert!(!passed);
        assert_eq!(last(&told), "FAILED: no check was carried out");
    }
}
