//! What Rust's test programs print, run with [`ARGUMENTS`].

use crate::tally::Tally;

/// Arguments for test programs. libtest hides what a test printed that passed, and with it the
/// reasons of tests that were skipped, unless it is told to show everything at the end.
pub const ARGUMENTS: &[&str] = &["--show-output"];

/// What a test prints when it, or a part of it, cannot be run here; a reason follows.
const SKIPPED: &str = "SKIPPED: ";

/// The output of any number of test programs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Results {
    /// How the tests ended. A test that passed and said that something was skipped counts as
    /// skipped.
    pub tally: Tally,
    /// All of it but the names of tests that passed once more.
    pub shown: String,
}

impl Results {
    /// Reads an output.
    #[must_use]
    pub fn read(output: &str) -> Self {
        let mut results = Self::default();
        let mut section = Section::Progress;
        let mut skipped = 0;
        for line in output.lines() {
            section = section.after(line);
            if section == Section::Output && line.starts_with(SKIPPED) {
                // One test, whatever else it says.
                section = Section::Skipped;
                skipped += 1;
            }
            if line.starts_with("test result:") {
                results.tally += Tally {
                    passed: count(line, "passed").saturating_sub(skipped),
                    failed: count(line, "failed"),
                    skipped: count(line, "ignored") + skipped,
                };
                skipped = 0;
            }
            if section != Section::Passed {
                results.shown += line;
                results.shown.push('\n');
            }
        }
        results
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
    /// The rest of what one of them printed that was skipped.
    Skipped,
}

impl Section {
    fn after(self, line: &str) -> Self {
        let is_head = line.starts_with("---- ") && line.ends_with(" stdout ----");
        match self {
            _ if line == "successes:" => Self::Passed,
            _ if line == "failures:" || line.starts_with("test result:") => Self::Progress,
            Self::Passed | Self::Output | Self::Skipped if is_head => Self::Output,
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

    const TWO_PROGRAMS: &str = "\
running 3 tests
test result: ok. 37 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.06s
test result: FAILED. 2 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s
";

    const SKIPPING: &str = "\
running 5 tests
test device::one ... ok

successes:

---- device::one stdout ----
SKIPPED: no Vulkan device
SKIPPED: no other either

---- device::two stdout ----
all is well, nothing SKIPPED: at all

---- device::four stdout ----
first
SKIPPED: the second

successes:
    device::one
    device::two
    device::four

failures:

---- device::three stdout ----
SKIPPED: nothing, since it fails

failures:
    device::three

test result: FAILED. 4 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s
";

    #[test]
    fn results_of_several_programs_add_up() {
        let expected = Tally {
            passed: 39,
            failed: 3,
            skipped: 1,
        };
        assert_eq!(Results::read(TWO_PROGRAMS).tally, expected);
    }

    #[test]
    fn tests_that_say_so_are_skipped_rather_than_passed() {
        let expected = Tally {
            passed: 2,
            failed: 1,
            skipped: 2,
        };
        assert_eq!(Results::read(SKIPPING).tally, expected);
    }

    #[test]
    fn names_of_tests_that_passed_are_shown_once() {
        let shown = Results::read(SKIPPING).shown;
        assert_eq!(shown.matches("device::one").count(), 2);
        assert_eq!(shown.matches("device::three").count(), 2);
        assert!(shown.contains("SKIPPED: no other either\n"));
        assert!(shown.contains("first\nSKIPPED: the second\n"));
    }
}
