//! The report for people at a terminal.

use std::fmt;

use super::{Report, Verdict};

/// A report as text, grouped.
#[derive(Clone, Copy, Debug)]
pub struct Table<'a>(
    /// The report.
    pub &'a Report,
);

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(report) = self;
        writeln!(f, "{}: {}", report.backend, report.features)?;
        for (group, entries) in report.groups() {
            let passed = entries
                .iter()
                .filter(|entry| entry.verdict == Verdict::Passed);
            writeln!(f, "\n{group} ({} of {})", passed.count(), entries.len())?;
            for entry in entries {
                let (_, name) = entry.parts();
                let line = format!(
                    "  {:<11} {name:<44} {:<18} {}",
                    entry.verdict.to_string(),
                    entry.section,
                    entry.detail
                );
                writeln!(f, "{}", line.trim_end())?;
            }
        }
        write!(f, "\n{}", report.summary())
    }
}
