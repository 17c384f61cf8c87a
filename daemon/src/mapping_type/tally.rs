//! Counts what did not agree, and says it.

use std::fmt;
use std::time::{Duration, Instant};

use coherd_blob::Exporter;
use coherd_blob::memory_type::MapInfo;
use tracing::warn;

use super::{Finding, MappingType};
use crate::limiter::Limiter;

/// At most one log line per kind of finding in this time: what a host does, it does with each
/// blob.
const LOG_PERIOD: Duration = Duration::from_secs(600);

/// How many blobs did not agree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// The renderer's word was wrong, and the guest was told what is right.
    pub corrected: u64,
    /// They are mapped although types do not agree, or might not.
    pub mismatched: u64,
    /// The guest may not map them.
    pub refused: u64,
}

/// See the module's description.
#[derive(Debug, Default)]
pub struct Tally {
    counts: Counts,
    /// One for each kind of finding that there was, and what became of it.
    log: Vec<((Finding, bool), Limiter)>,
}

impl Tally {
    /// What was noted so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Notes what was found about `blob`, and whether it is refused for that.
    pub fn note(
        &mut self,
        blob: &dyn fmt::Display,
        exporter: &Exporter,
        mapping: &MappingType,
        finding: Finding,
        refused: bool,
    ) {
        let count = match finding {
            _ if refused => &mut self.counts.refused,
            Finding::Corrected(_) => &mut self.counts.corrected,
            Finding::Mismatch(_) => &mut self.counts.mismatched,
        };
        *count = count.saturating_add(1);
        let Some(held_back) = self.limiter((finding, refused)).pass(Instant::now()) else {
            return;
        };
        let told = mapping.told;
        let (file, guest) = (known(mapping.file), known(mapping.effective));
        let advice = finding.advice();
        if refused {
            warn!(
                %told, %file, %guest, %exporter, held_back,
                "{blob} cannot be mapped: {finding}; {advice}, or let it be with \
                 --on-type-mismatch=warn"
            );
        } else {
            warn!(%told, %file, %guest, %exporter, held_back, "{blob}: {finding}; {advice}");
        }
    }

    fn limiter(&mut self, finding: (Finding, bool)) -> &mut Limiter {
        let known = self.log.iter().position(|(kind, _)| *kind == finding);
        let index = known.unwrap_or_else(|| {
            self.log.push((finding, Limiter::new(LOG_PERIOD, 1)));
            self.log.len() - 1
        });
        &mut self.log[index].1
    }
}

fn known(caching: Option<MapInfo>) -> &'static str {
    match caching {
        Some(MapInfo::Cached) => "cached",
        Some(MapInfo::Uncached) => "uncached",
        Some(MapInfo::WriteCombining) => "write-combining",
        None => "not known",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use coherd_blob::policy::Mismatch;
    use coherd_blob::venus_type::Correction;

    /// What was logged.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(what: impl FnOnce()) -> Vec<String> {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .finish();
        tracing::subscriber::with_default(subscriber, what);
        let text = lines.0.lock().unwrap().clone();
        let text = String::from_utf8(text).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn each_kind_of_finding_is_counted_always_and_said_once_with_what_to_do() {
        let exporter = Exporter::from_name("somebody");
        let mapping = MappingType {
            told: MapInfo::WriteCombining,
            coherent: true,
            file: None,
            effective: Some(MapInfo::Cached),
        };
        let unknown = Finding::Mismatch(Mismatch::FdUnknown);
        let corrected = Finding::Corrected(Correction::OrdinaryRam);
        let mut tally = Tally::default();

        let lines = logged(|| {
            for id in 1..=3 {
                let resource = format_args!("resource {id}").to_string();
                tally.note(&resource, &exporter, &mapping, unknown, false);
                tally.note(&resource, &exporter, &mapping, corrected, false);
            }
            tally.note(&"resource 4", &exporter, &mapping, unknown, true);
        });

        let counts = Counts {
            corrected: 3,
            mismatched: 3,
            refused: 1,
        };
        assert_eq!(tally.counts(), counts);
        assert_eq!(lines.len(), 3, "{lines:?}");
        for word in [
            "resource 1",
            "write-combining",
            "not known",
            "somebody",
            "sync protocol",
        ] {
            assert!(lines[0].contains(word), "{word}: {lines:?}");
        }
        assert!(lines[1].contains("ordinary RAM"), "{lines:?}");
        assert!(
            lines[2].contains("resource 4 cannot be mapped"),
            "{lines:?}"
        );
    }
}
