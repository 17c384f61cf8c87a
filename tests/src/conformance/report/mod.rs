//! What came of the cases.

mod markdown;
mod table;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use markdown::Markdown;
pub use table::Table;

/// What came of one case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The device did what it must.
    Passed,
    /// It did something else.
    Failed,
    /// It does not offer what the case is about.
    Unsupported,
    /// There was no backend any more.
    NotRun,
}

impl Verdict {
    /// Every verdict, in the order in which they are counted.
    pub const ALL: [Self; 4] = [Self::Passed, Self::Failed, Self::Unsupported, Self::NotRun];
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Passed => "pass",
            Self::Failed => "fail",
            Self::Unsupported => "unsupported",
            Self::NotRun => "not run",
        })
    }
}

/// One case that was run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its name, `group/name`.
    pub name: String,
    /// Where it is said what it must see.
    pub section: String,
    /// What came of it.
    pub verdict: Verdict,
    /// The codes that were answered, or what went wrong.
    pub detail: String,
    /// How long it took.
    pub milliseconds: u64,
}

impl Entry {
    /// The group and the name within it.
    pub fn parts(&self) -> (&str, &str) {
        self.name.split_once('/').unwrap_or(("", &self.name))
    }
}

/// All cases that were run against one backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The backend, with its version.
    pub backend: String,
    /// What it offers.
    pub features: String,
    /// One entry a case, in the order they ran.
    pub entries: Vec<Entry>,
}

impl Report {
    /// A report without entries.
    pub fn new(backend: &str) -> Self {
        Self {
            backend: backend.to_owned(),
            features: String::new(),
            entries: Vec::new(),
        }
    }

    /// How many cases ended so.
    pub fn count(&self, verdict: Verdict) -> usize {
        let entries = self.entries.iter();
        entries.filter(|entry| entry.verdict == verdict).count()
    }

    /// Whether no case failed and none was left out for want of a backend.
    pub fn is_success(&self) -> bool {
        self.count(Verdict::Failed) == 0 && self.count(Verdict::NotRun) == 0
    }

    /// The counts in one line.
    pub fn summary(&self) -> String {
        let count = |verdict: &Verdict| format!("{} {verdict}", self.count(*verdict));
        let counts: Vec<String> = Verdict::ALL.iter().map(count).collect();
        format!("{} cases: {}", self.entries.len(), counts.join(", "))
    }

    /// The groups with their entries, in order.
    fn groups(&self) -> impl Iterator<Item = (&str, &[Entry])> {
        let chunks = self
            .entries
            .chunk_by(|one, other| one.parts().0 == other.parts().0);
        chunks.map(|chunk| (chunk.first().map_or("", |entry| entry.parts().0), chunk))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, verdict: Verdict) -> Entry {
        Entry {
            name: name.to_owned(),
            section: "5.7.6.8".to_owned(),
            verdict,
            detail: "ERR_UNSPEC | x".to_owned(),
            milliseconds: 3,
        }
    }

    fn report(backend: &str, last: Verdict) -> Report {
        Report {
            backend: backend.to_owned(),
            features: "EDID".to_owned(),
            entries: vec![
                entry("edid/checksum", Verdict::Passed),
                entry("edid/size", Verdict::Unsupported),
                entry("flush/whole", last),
            ],
        }
    }

    #[test]
    fn unsupported_cases_are_no_failure_and_others_are() {
        assert!(report("a", Verdict::Passed).is_success());
        assert!(!report("a", Verdict::Failed).is_success());
        assert!(!report("a", Verdict::NotRun).is_success());
    }

    #[test]
    fn table_is_grouped_and_counted() {
        let text = Table(&report("a", Verdict::Failed)).to_string();

        assert!(text.contains("edid (1 of 2)"), "{text}");
        assert!(text.contains("flush (0 of 1)"), "{text}");
        assert!(text.ends_with("3 cases: 1 pass, 1 fail, 1 unsupported, 0 not run"));
    }

    #[test]
    fn markdown_puts_backends_side_by_side_and_keeps_its_columns() {
        let reports = [report("a", Verdict::Passed), report("b", Verdict::Failed)];

        let text = Markdown(&reports).to_string();

        assert!(text.contains("| case | section | a | b |"), "{text}");
        let row = text.lines().find(|line| line.contains("flush/whole"));
        assert_eq!(
            row,
            Some("| flush/whole | 5.7.6.8 | pass: ERR_UNSPEC \\| x | **fail**: ERR_UNSPEC \\| x |")
        );
    }
}
