//! What libFuzzer prints.

/// Figures of a run, zero where libFuzzer did not come to print them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Inputs that were run.
    pub executions: u64,
    /// Inputs a second.
    pub rate: u64,
    /// Edges of the program's flow graph that were taken.
    pub coverage: u64,
    /// Edges with how often they were taken, and comparisons with their outcome.
    pub features: u64,
    /// Inputs that each cover something no other does.
    pub corpus: u64,
}

impl Figures {
    /// The figures in libFuzzer's output.
    #[must_use]
    pub fn read(output: &str) -> Self {
        let stat = |name: &str| {
            let mut lines = output.lines();
            lines.find_map(|line| number(line.strip_prefix(name)?.trim()))
        };
        let status = output.lines().rev().find(|line| line.contains(" cov: "));
        let field = |name: &str| {
            let (_, rest) = status?.split_once(name)?;
            number(rest.trim_start())
        };
        Self {
            executions: stat("stat::number_of_executed_units:").unwrap_or(0),
            rate: stat("stat::average_exec_per_sec:").unwrap_or(0),
            coverage: field(" cov: ").unwrap_or(0),
            features: field(" ft: ").unwrap_or(0),
            corpus: field(" corp: ").unwrap_or(0),
        }
    }
}

/// The number at the start of `text`.
fn number(text: &str) -> Option<u64> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    text.get(..end)?.parse().ok()
}

/// The file in which libFuzzer left the input that failed.
#[must_use]
pub fn artifact(output: &str) -> Option<&str> {
    let mut lines = output.lines();
    lines.find_map(|line| {
        let (_, path) = line.split_once("Test unit written to ")?;
        Some(path.trim())
    })
}

/// What a reader wants first: the panic or the sanitizer's finding.
#[must_use]
pub fn complaint(output: &str) -> Option<&str> {
    let start = [" panicked at ", "ERROR: "]
        .iter()
        .filter_map(|word| output.find(word))
        .min()?;
    let line = output.get(..start)?.rfind('\n').map_or(0, |end| end + 1);
    output.get(line..)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "\
INFO: Seed: 1
#2\tINITED cov: 16 ft: 17 corp: 1/1b exec/s: 0 rss: 32Mb
#424\tDONE   cov: 211 ft: 1024 corp: 37/5b lim: 4096 exec/s: 212 rss: 356Mb
Done 424 runs in 2 second(s)
stat::number_of_executed_units: 424
stat::average_exec_per_sec:     212
";

    #[test]
    fn figures_are_those_of_the_last_line() {
        let figures = Figures::read(OUTPUT);
        assert_eq!((figures.executions, figures.rate), (424, 212));
        assert_eq!((figures.coverage, figures.features), (211, 1024));
        assert_eq!(figures.corpus, 37);
    }

    #[test]
    fn panic_and_its_input_are_found() {
        let output = "INFO: x\n\
            thread '<unnamed>' panicked at src/a.rs:1:2:\nno\n\
            ==7== ERROR: libFuzzer: deadly signal\n\
            artifact_prefix='a/'; Test unit written to a/crash-1\n";
        assert_eq!(artifact(output), Some("a/crash-1"));
        assert!(complaint(output).is_some_and(|text| text.starts_with("thread '<unnamed>'")));
        assert_eq!(artifact(OUTPUT), None);
    }
}
