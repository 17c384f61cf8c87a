//! The lines that are printed.

use std::error::Error;
use std::io::{self, Write};

use crate::tool::one_line;

/// Why a check did not pass.
#[derive(Debug, PartialEq, Eq)]
pub enum Stop {
    /// There is nothing to check, and why.
    Skipped(String),
    /// It failed.
    Failed(String),
}

impl<E: Error> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Failed(one_line(&error))
    }
}

/// How a check ended.
pub type Outcome = Result<(), Stop>;

/// Runs checks, prints a line for each and counts them.
pub struct Runner<'a> {
    only: Option<&'a str>,
    out: &'a mut dyn Write,
    passed: usize,
    skipped: usize,
    failed: usize,
    first: Option<String>,
}

impl<'a> Runner<'a> {
    /// Only checks whose names contain `only`.
    pub fn new(only: Option<&'a str>, out: &'a mut dyn Write) -> Self {
        Self {
            only,
            out,
            passed: 0,
            skipped: 0,
            failed: 0,
            first: None,
        }
    }

    /// Runs one check.
    pub fn run(&mut self, name: &str, check: impl FnOnce() -> Outcome) -> io::Result<()> {
        if self.only.is_some_and(|only| !name.contains(only)) {
            return Ok(());
        }
        match check() {
            Ok(()) => {
                self.passed += 1;
                writeln!(self.out, "PASS {name}")
            }
            Err(Stop::Skipped(why)) => {
                self.skipped += 1;
                writeln!(self.out, "SKIPPED {name}: {why}")
            }
            Err(Stop::Failed(why)) => {
                self.failed += 1;
                self.first.get_or_insert_with(|| format!("{name}: {why}"));
                writeln!(self.out, "FAIL {name}: {why}")
            }
        }
    }

    /// Prints how it went, and tells whether it went well. With `required`, a run without a check
    /// that passed failed for this reason.
    pub fn finish(self, required: Option<&str>) -> io::Result<bool> {
        let Self {
            passed,
            skipped,
            failed,
            ..
        } = self;
        let skips = match skipped {
            0 => String::new(),
            skipped => format!(", {skipped} skipped"),
        };
        match self.first {
            Some(first) => {
                let all = passed + failed;
                writeln!(self.out, "FAILED: {failed} of {all} checks{skips}; {first}")?;
            }
            None if passed == 0 => {
                let why = required.unwrap_or("no check was carried out");
                writeln!(self.out, "FAILED: {why}")?;
            }
            None => writeln!(self.out, "ok: {passed} checks{skips}")?,
        }
        Ok(failed == 0 && passed > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ran(outcomes: Vec<Outcome>) -> (bool, String) {
        let mut out = Vec::new();
        let mut runner = Runner::new(None, &mut out);
        for outcome in outcomes {
            runner.run("check", || outcome).unwrap();
        }
        let passed = runner.finish(None).unwrap();
        (passed, String::from_utf8(out).unwrap())
    }

    #[test]
    fn each_check_is_a_line_and_the_last_line_counts_them() {
        let skipped = Err(Stop::Skipped("none here".into()));
        let (passed, said) = ran(vec![Ok(()), skipped]);
        assert!(passed);
        assert_eq!(
            said,
            "PASS check\nSKIPPED check: none here\nok: 1 checks, 1 skipped\n"
        );
    }

    #[test]
    fn one_failure_fails_all_and_is_named() {
        let (passed, said) = ran(vec![Ok(()), Err(Stop::Failed("broken".into()))]);
        assert!(!passed);
        assert!(
            said.ends_with("FAILED: 1 of 2 checks; check: broken\n"),
            "{said}"
        );
    }

    #[test]
    fn nothing_but_skips_is_no_success() {
        let (passed, _) = ran(vec![Err(Stop::Skipped("none here".into()))]);
        assert!(!passed);
    }
}
