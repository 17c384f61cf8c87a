//! What came of the cases.

use std::fmt;
use std::time::Duration;

/// What came of one case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All was as it should be; with what was measured.
    Passed(String),
    /// It could not be tried; with the reason.
    Skipped(String),
    /// Something was not as it should be; with what.
    Failed(String),
}

/// One case that was run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: &'static str,
    /// What came of it.
    pub verdict: Verdict,
    /// How long it took, less the boot of its guest.
    pub time: Duration,
}

/// All cases that were run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// One entry a case, in the order in which they are listed.
    pub entries: Vec<Entry>,
}

impl Report {
    /// Whether nothing failed.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.count(|verdict| matches!(verdict, Verdict::Failed(_))) == 0
    }

    fn count(&self, which: impl Fn(&Verdict) -> bool) -> usize {
        let verdicts = self.entries.iter().map(|entry| &entry.verdict);
        verdicts.filter(|verdict| which(verdict)).count()
    }
}

/// One line; what else there is to a failure was shown when it came.
impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, text) = match &self.verdict {
            Verdict::Passed(text) => ("ok", text),
            Verdict::Skipped(text) => ("SKIPPED", text),
            Verdict::Failed(text) => ("FAILED", text),
        };
        let seconds = self.time.as_secs_f32();
        let first = text.lines().next().unwrap_or_default();
        write!(f, "{word:<7} {:<17} {seconds:6.1} s  {first}", self.name)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for entry in &self.entries {
            writeln!(f, "{entry}")?;
        }
        write!(
            f,
            "{} passed, {} failed, {} skipped",
            self.count(|verdict| matches!(verdict, Verdict::Passed(_))),
            self.count(|verdict| matches!(verdict, Verdict::Failed(_))),
            self.count(|verdict| matches!(verdict, Verdict::Skipped(_))),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_skipped_case_is_no_failure() {
        let entry = |verdict| Entry {
            name: "case",
            verdict,
            time: Duration::from_secs(2),
        };
        let mut report = Report {
            entries: vec![
                entry(Verdict::Passed("fast".to_owned())),
                entry(Verdict::Skipped("no host".to_owned())),
            ],
        };
        assert!(report.is_success());
        report.entries.push(entry(Verdict::Failed("no".to_owned())));
        assert!(!report.is_success());
        assert!(
            report
                .to_string()
                .ends_with("1 passed, 1 failed, 1 skipped")
        );
    }
}
