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
    /// One for each kind of finding that there was.
    log: Vec<(Finding, Limiter)>,
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
        let Some(held_back) = self.limiter(finding).pass(Instant::now()) else {
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

    fn limiter(&mut self, finding: Finding) -> &mut Limiter {
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
