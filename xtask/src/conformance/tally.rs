//! Counts out of a report in JSON.

use serde_json::Value;

/// Why a report could not be counted.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// It is not JSON.
    #[error("it is not JSON")]
    Json(#[from] serde_json::Error),
    /// It has no list of cases.
    #[error("it has no cases")]
    NoCases,
}

/// How many cases ended how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// The backend did what it must.
    pub passed: usize,
    /// It did something else, was not there any more, or lacks what it must have.
    pub failed: usize,
    /// It does not offer what the case is about, and need not.
    pub unsupported: usize,
    /// One line for each case that did not pass.
    pub lines: Vec<String>,
}

impl Counts {
    /// Counts the cases of a report. Of the unsupported ones, those that are not among
    /// `unsupported` count as failed.
    ///
    /// # Errors
    /// See [`ReportError`].
    pub fn of(report: &str, unsupported: &[&str]) -> Result<Self, ReportError> {
        let report: Value = serde_json::from_str(report)?;
        let entries = report.get("entries").and_then(Value::as_array);
        let entries = entries.filter(|entries| !entries.is_empty());
        let mut counts = Self::default();
        for entry in entries.ok_or(ReportError::NoCases)? {
            let field = |name| entry.get(name).and_then(Value::as_str).unwrap_or_default();
            let (name, detail) = (field("name"), field("detail"));
            let (count, word) = match field("verdict") {
                "passed" => {
                    counts.passed += 1;
                    continue;
                }
                "unsupported" if unsupported.contains(&name) => {
                    (&mut counts.unsupported, "SKIPPED")
                }
                _ => (&mut counts.failed, "FAILED"),
            };
            *count += 1;
            counts.lines.push(format!("{word:<7} {name}: {detail}"));
        }
        Ok(counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_that_were_not_run_count_as_failures() {
        let report = r#"{"entries": [
            {"name": "a/1", "verdict": "passed", "detail": ""},
            {"name": "a/2", "verdict": "failed", "detail": "ERR_UNSPEC"},
            {"name": "a/3", "verdict": "unsupported", "detail": "no window"},
            {"name": "a/4", "verdict": "not-run", "detail": "gone"}
        ]}"#;

        let counts = Counts::of(report, &["a/3"]).unwrap();

        assert_eq!(
            (counts.passed, counts.failed, counts.unsupported),
            (1, 2, 1)
        );
        assert_eq!(counts.lines[0], "FAILED  a/2: ERR_UNSPEC");
        assert_eq!(counts.lines[1], "SKIPPED a/3: no window");
    }

    #[test]
    fn unsupported_cases_that_are_not_expected_count_as_failures() {
        let report = r#"{"entries": [
            {"name": "map/1", "verdict": "unsupported", "detail": "no window"}
        ]}"#;

        let counts = Counts::of(report, &["3d/1"]).unwrap();

        assert_eq!((counts.failed, counts.unsupported), (1, 0));
        assert_eq!(counts.lines, ["FAILED  map/1: no window"]);
    }

    #[test]
    fn a_report_without_cases_is_an_error() {
        assert!(Counts::of(r#"{"entries": []}"#, &[]).is_err());
        assert!(Counts::of("", &[]).is_err());
    }
}
