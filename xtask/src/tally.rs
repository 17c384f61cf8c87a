//! The count of tests, read from what libtest prints.

use std::fmt;
use std::ops::AddAssign;

/// What a test prints when it, or a part of it, cannot be run here; a reason follows.
const SKIPPED: &str = "SKIPPED: ";

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

impl Tally {
    /// Adds the results in the output of test programs. A test that passed and said that something
    /// was skipped counts as skipped; libtest hides what such a test said, unless it was run with
    /// `--show-output`.
    pub fn add_output(&mut self, output: &str) {
        let mut section = Section::Progress;
        let mut skipped = 0;
        for line in output.lines() {
            section = section.after(line);
            if section == Section::Output && line.starts_with(SKIPPED) {
                // One test, whatever else it says.
                section = Section::Passed;
                skipped += 1;
            }
            if line.starts_with("test result:") {
                *self += Self {
                    passed: count(line, "passed").saturating_sub(skipped),
                    failed: count(line, "failed"),
                    skipped: count(line, "ignored") + skipped,
                };
                skipped = 0;
            }
        }
    }
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

/// A part of the output of a test program.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Section {
    /// Anything that is no other part.
    Progress,
    /// The list of tests that passed.
    Passed,
    /// What one of them printed.
    Output,
}

impl Section {
    fn after(self, line: &str) -> Self {
        let is_head = line.starts_with("---- ") && line.ends_with(" stdout ----");
        match self {
            _ if line == "successes:" => Self::Passed,
            _ if line == "failures:" || line.starts_with("test result:") => Self::Progress,
            Self::Passed if is_head => Self::Output,
            other => other,
        }
    }
}

/// The number before a word in the line of a result.
fn count(line: &str, word: &str) -> usize {
    line.split([';', '.'])
        .find_map(|part| part.trim().strip_suffix(word)?.trim().parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_several_programs_add_up() {
        let mut tally = Tally::default();
        tally.add_output(
            "running 3 tests\n\
             test result: ok. 37 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.06s\n\
             test result: FAILED. 2 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s\n",
        );
        assert_eq!(
            tally,
            Tally {
                passed: 39,
                failed: 3,
                skipped: 1
            }
        );
        assert_eq!(tally.to_string(), "test: 39 passed, 3 failed, 1 skipped");
    }

    #[test]
    fn tests_that_say_so_are_skipped_rather_than_passed() {
        let mut tally = Tally::default();
        tally.add_output(
            "running 4 tests\n\
             \n\
             successes:\n\
             \n\
             ---- device::one stdout ----\n\
             SKIPPED: no Vulkan device\n\
             SKIPPED: no other either\n\
             \n\
             ---- device::two stdout ----\n\
             all is well, nothing SKIPPED: at all\n\
             \n\
             successes:\n    device::one\n    device::two\n\
             \n\
             failures:\n\
             \n\
             ---- device::three stdout ----\n\
             SKIPPED: nothing, since it fails\n\
             \n\
             test result: FAILED. 3 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s\n",
        );
        assert_eq!(
            tally,
            Tally {
                passed: 2,
                failed: 1,
                skipped: 1
            }
        );
    }
}
