//! Reports for documents, side by side.

use std::fmt;

use super::{Entry, Report, Verdict};

/// Reports of the same cases as one Markdown table, one column a backend.
#[derive(Clone, Copy, Debug)]
pub struct Markdown<'a>(
    /// The reports.
    pub &'a [Report],
);

impl fmt::Display for Markdown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(reports) = self;
        writeln!(
            f,
            "| backend | offers | pass | fail | unsupported | not run |"
        )?;
        writeln!(f, "|---|---|---|---|---|---|")?;
        for report in *reports {
            let counts = Verdict::ALL.map(|verdict| report.count(verdict).to_string());
            let (name, features) = (&report.backend, &report.features);
            writeln!(f, "| {name} | {features} | {} |", counts.join(" | "))?;
        }
        let names: Vec<&str> = reports
            .iter()
            .map(|report| report.backend.as_str())
            .collect();
        writeln!(f, "\n| case | section | {} |", names.join(" | "))?;
        writeln!(f, "|---|---|{}", "---|".repeat(reports.len()))?;
        let Some((first, _)) = reports.split_first() else {
            return Ok(());
        };
        for entry in &first.entries {
            let cells: Vec<String> = reports.iter().map(|report| cell(report, entry)).collect();
            let (name, section) = (&entry.name, &entry.section);
            writeln!(f, "| {name} | {section} | {} |", cells.join(" | "))?;
        }
        Ok(())
    }
}

fn cell(report: &Report, wanted: &Entry) -> String {
    let entry = report
        .entries
        .iter()
        .find(|entry| entry.name == wanted.name);
    let Some(entry) = entry else {
        return String::new();
    };
    let verdict = match entry.verdict {
        Verdict::Failed => "**fail**".to_owned(),
        other => other.to_string(),
    };
    if entry.detail.is_empty() {
        return verdict;
    }
    let detail = entry.detail.replace('|', "\\|").replace('\n', " ");
    format!("{verdict}: {detail}")
}
