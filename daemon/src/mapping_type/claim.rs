//! What is known of a blob, as one claim for the policy.

use coherd_blob::exporter::{Allocated, Location, fd_caching};
use coherd_blob::memory_type::{MapInfo, MemoryType};
use coherd_blob::policy::Claim;
use coherd_blob::venus_type::{Correction, Verdict, judge, reported_as};
use coherd_blob::{Exporter, MemoryProperties};

use super::{MappingType, Source};
use crate::guest_pat::Hypervisor;

/// A blob after everything was held against everything else.
#[derive(Clone, Copy, Debug)]
pub struct Judged {
    pub claim: Claim,
    /// Why the renderer's word does not count.
    pub correction: Option<Correction>,
}

impl Judged {
    /// `None` if the memory cannot be mapped, or has no type.
    pub fn new(exporter: &Exporter, source: Source<'_>, hypervisor: Hypervisor) -> Option<Self> {
        let (claim, correction, allocated) = match source {
            Source::Guessed { map_info, driver } => {
                let (claim, correction) = guessed(exporter, map_info, driver)?;
                (claim, correction, None)
            }
            Source::Allocated {
                memory,
                can_prefer_cached,
            } => {
                let claim = allocated(exporter, memory, can_prefer_cached)?;
                (claim, None, Some(memory))
            }
        };
        let location = Location::of(exporter, allocated);
        let effective = hypervisor.effective(claim.told, claim.fd, location);
        Some(Self {
            claim: Claim { effective, ..claim },
            correction,
        })
    }

    /// The types it stands for.
    pub fn mapping(&self) -> MappingType {
        MappingType {
            told: self.claim.told,
            coherent: self.claim.coherent,
            file: self.claim.fd,
            effective: self.claim.effective,
        }
    }
}

fn guessed(
    exporter: &Exporter,
    raw: u32,
    driver: Option<&[MemoryProperties]>,
) -> Option<(Claim, Option<Correction>)> {
    let reported = MapInfo::from_renderer(raw)?;
    let judged = judge(raw, exporter, driver);
    let (told, correction) = match judged.verdict {
        Verdict::Confirmed(told) => (told, None),
        Verdict::Corrected(told, why) => (told, Some(why)),
        Verdict::Unknown => (reported, None),
    };
    let claim = Claim {
        told,
        // Mesa's Venus does not let a guest map what it would have to flush.
        coherent: judged.coherent.unwrap_or(true),
        guest_brackets: false,
        fd: file_of_guessed(exporter, reported, driver.unwrap_or_default()),
        effective: None,
        can_prefer_cached: false,
    };
    Some((claim, correction))
}

/// How an mmap of the file is cached, if that is the same for every memory type of the driver
/// that is reported so.
fn file_of_guessed(
    exporter: &Exporter,
    reported: MapInfo,
    driver: &[MemoryProperties],
) -> Option<MapInfo> {
    if let Some(caching) = exporter.mmap_caching() {
        return Some(caching);
    }
    let is_reported_so = |properties: &&MemoryProperties| {
        let memory = MemoryType::from_properties(**properties);
        memory.map(reported_as) == Some(reported)
    };
    let mut found = driver.iter().filter(is_reported_so).map(|&properties| {
        let allocated = Allocated {
            properties,
            integrated: None,
        };
        fd_caching(exporter, Some(allocated))
    });
    let first = found.next()?;
    found.all(|caching| caching == first).then_some(first)?
}

fn allocated(exporter: &Exporter, memory: Allocated, can_prefer_cached: bool) -> Option<Claim> {
    let kind = MemoryType::from_properties(memory.properties)?;
    Some(Claim {
        told: kind.caching,
        coherent: kind.coherent,
        guest_brackets: true,
        fd: fd_caching(exporter, Some(memory)),
        effective: None,
        can_prefer_cached,
    })
}
