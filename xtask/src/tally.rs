//! The count of tests.

use std::fmt;
use std::ops::AddAssign;

/// How many tests ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// As they should.
    pub passed: usize,
    /// Otherwise.
    pub failed: usize,
    /// Not run, or not all of it, with a reason that was printed.
    pub skipped: usize,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, more: Self) {
        self.passed += more.passed;
        self.failed += more.failed;
        self.skipped += more.skipped;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            passed,
            failed,
            skipped,
        } = self;
        write!(
            f,
            "test: {passed} passed, {failed} failed, {skipped} skipped"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_of_a_run_names_each_count() {
        let mut tally = Tally::default();
        tally += Tally {
            passed: 39,
            failed: 3,
            skipped: 1,
        };
        tally += Tally {
            passed: 1,
            ..Tally::default()
        };
        assert_eq!(tally.to_string(), "test: 40 passed, 3 failed, 1 skipped");
    }
}
