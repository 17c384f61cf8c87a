//! What a `map_info` of virglrenderer is worth.
//!
//! virglrenderer guesses it from Vulkan's flags, "coherent and cached, else write-combining"
//! (`vkr_device_memory_export_blob`, src/venus/vkr_device_memory.c), and the worker that reports it
//! runs guest commands. So it is held against the exporter of the fd and the memory types that
//! the driver has.

use coherd_protocol::memory::MemoryProperties;
use thiserror::Error;

use crate::exporter::Exporter;
use crate::memory_type::{MapInfo, MemoryType};

/// Why a reported type is provably wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Correction {
    /// The file is ordinary RAM, which everybody maps cached.
    #[error("the file is ordinary RAM")]
    OrdinaryRam,
    /// Every type of the driver for which virglrenderer reports this is cached otherwise.
    #[error("the driver's memory that is reported so is cached otherwise")]
    Misreported,
    /// The driver has no memory for which virglrenderer reports this.
    #[error("the driver has no such memory")]
    NoSuchMemory,
}

/// The judgement on a reported type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is what the memory has.
    Confirmed(MapInfo),
    /// The memory provably has another one.
    Corrected(MapInfo, Correction),
    /// Nothing proves or disproves it, or nothing was reported.
    Unknown,
}

/// What is known of the memory behind a Venus blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VenusType {
    /// How it is cached.
    pub verdict: Verdict,
    /// Whether it is coherent; `None` if nobody knows. Incoherent memory is of no use to a Venus
    /// guest, which cannot flush.
    pub coherent: Option<bool>,
}

/// Judges `raw`, the `map_info` of virglrenderer for a blob, by the exporter of its fd and the
/// memory types of the driver (all of them, in any order; `None` if they are not known).
///
/// | reported | exporter | driver's host-visible types | verdict |
/// |---|---|---|---|
/// | nothing | any | any | unknown |
/// | X | memfd, udmabuf, system heap | any | cached |
/// | X | other | not known, or none | unknown |
/// | X | other | those reported as X have caching Y | Y |
/// | X | other | those reported as X differ in caching | unknown |
/// | X | other | none reported as X, all have caching Y | Y |
/// | X | other | none reported as X, they differ in caching | unknown |
pub fn judge(raw: u32, exporter: &Exporter, driver: Option<&[MemoryProperties]>) -> VenusType {
    let Some(reported) = MapInfo::from_renderer(raw) else {
        return VenusType {
            verdict: Verdict::Unknown,
            coherent: None,
        };
    };
    let visible: Vec<MemoryType> = driver
        .unwrap_or_default()
        .iter()
        .filter_map(|&properties| MemoryType::from_properties(properties))
        .collect();
    let (candidates, reason) = match filter(&visible, reported) {
        none if none.is_empty() => (visible, Correction::NoSuchMemory),
        some => (some, Correction::Misreported),
    };
    let (caching, reason) = match exporter.mmap_caching() {
        Some(caching) => (Some(caching), Correction::OrdinaryRam),
        None => (
            common(candidates.iter().map(|memory| memory.caching)),
            reason,
        ),
    };
    VenusType {
        verdict: match caching {
            None => Verdict::Unknown,
            Some(caching) if caching == reported => Verdict::Confirmed(caching),
            Some(caching) => Verdict::Corrected(caching, reason),
        },
        coherent: match (reported, reason) {
            // Rings are such memory, whatever the driver has.
            (MapInfo::Cached, Correction::OrdinaryRam) => Some(true),
            _ => common(candidates.iter().map(|memory| memory.coherent)),
        },
    }
}

/// What virglrenderer reports for memory of this type.
pub fn reported_as(memory: MemoryType) -> MapInfo {
    if memory == MemoryType::RAM {
        MapInfo::Cached
    } else {
        MapInfo::WriteCombining
    }
}

/// The types for which virglrenderer reports `reported`.
fn filter(types: &[MemoryType], reported: MapInfo) -> Vec<MemoryType> {
    let reported = |memory: &MemoryType| reported_as(*memory) == reported;
    types.iter().copied().filter(reported).collect()
}

/// The value that all have, if there is one.
fn common<T: PartialEq>(mut values: impl Iterator<Item = T>) -> Option<T> {
    let first = values.next()?;
    values.all(|value| value == first).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use MapInfo::{Cached, Uncached, WriteCombining};

    const VISIBLE: MemoryProperties = MemoryProperties::HOST_VISIBLE;
    const COHERENT_CACHED: MemoryProperties = VISIBLE
        .union(MemoryProperties::HOST_COHERENT)
        .union(MemoryProperties::HOST_CACHED);
    const COHERENT: MemoryProperties = VISIBLE.union(MemoryProperties::HOST_COHERENT);
    const CACHED: MemoryProperties = VISIBLE.union(MemoryProperties::HOST_CACHED);

    /// The host-visible types that a driver can have; each set of them is one driver.
    const KINDS: [MemoryProperties; 4] = [COHERENT_CACHED, COHERENT, CACHED, VISIBLE];

    fn drivers() -> impl Iterator<Item = Vec<MemoryProperties>> {
        (0..1 << KINDS.len()).map(|set: usize| {
            let mut types = vec![MemoryProperties::DEVICE_LOCAL];
            types.extend(
                (0..KINDS.len())
                    .filter(|kind| set >> kind & 1 == 1)
                    .map(|kind| KINDS[kind]),
            );
            types
        })
    }

    fn exporters() -> [Exporter; 7] {
        [
            Exporter::Memfd,
            Exporter::HugetlbMemfd,
            Exporter::Udmabuf,
            Exporter::SystemHeap,
            Exporter::Drm,
            Exporter::I915,
            Exporter::Other("msm".into()),
        ]
    }

    const NOTHING: VenusType = VenusType {
        verdict: Verdict::Unknown,
        coherent: None,
    };

    #[test]
    fn nothing_is_known_of_what_was_not_reported() {
        for exporter in exporters() {
            for raw in [0, 0x30, 4, 0x3f] {
                assert_eq!(judge(raw, &exporter, None), NOTHING);
                assert_eq!(judge(raw, &exporter, Some(&[COHERENT_CACHED])), NOTHING);
            }
        }
    }

    #[test]
    fn ordinary_ram_is_cached_whatever_was_reported() {
        for exporter in exporters()
            .into_iter()
            .filter(|e| e.mmap_caching().is_some())
        {
            for driver in drivers().map(Some).chain([None]) {
                let verdict = |raw| judge(raw, &exporter, driver.as_deref()).verdict;
                let corrected = Verdict::Corrected(Cached, Correction::OrdinaryRam);
                let ring = VenusType {
                    verdict: Verdict::Confirmed(Cached),
                    coherent: Some(true),
                };
                assert_eq!(judge(0x31, &exporter, driver.as_deref()), ring);
                assert_eq!(verdict(0x32), corrected);
                assert_eq!(verdict(0x33), corrected);
            }
        }
    }

    #[test]
    fn without_the_drivers_types_other_exporters_are_unknown() {
        for exporter in exporters()
            .into_iter()
            .filter(|e| e.mmap_caching().is_none())
        {
            for raw in 1..=3 {
                assert_eq!(judge(raw, &exporter, None), NOTHING);
                assert_eq!(judge(raw, &exporter, Some(&[])), NOTHING);
            }
        }
    }

    /// What virglrenderer may report for a type, and what the type is.
    fn truth(kind: MemoryProperties) -> (MapInfo, MapInfo, bool) {
        match kind {
            COHERENT_CACHED => (Cached, Cached, true),
            COHERENT => (WriteCombining, WriteCombining, true),
            CACHED => (WriteCombining, Cached, false),
            _ => (WriteCombining, WriteCombining, false),
        }
    }

    #[test]
    fn verdict_is_what_every_possible_type_has() {
        for driver in drivers() {
            for reported in [Cached, Uncached, WriteCombining] {
                let visible = driver.iter().filter(|kind| kind.contains(VISIBLE));
                let all: Vec<_> = visible.map(|&kind| truth(kind)).collect();
                let possible: Vec<_> = all.iter().filter(|kind| kind.0 == reported).collect();
                let (of, reason) = match possible.is_empty() {
                    true => (all.iter().collect(), Correction::NoSuchMemory),
                    false => (possible, Correction::Misreported),
                };
                let every = |caching| !of.is_empty() && of.iter().all(|kind| kind.1 == caching);
                let verdict = match (every(Cached), every(WriteCombining)) {
                    (false, false) => Verdict::Unknown,
                    (cached, _) => {
                        let caching = if cached { Cached } else { WriteCombining };
                        if caching == reported {
                            Verdict::Confirmed(caching)
                        } else {
                            Verdict::Corrected(caching, reason)
                        }
                    }
                };
                let coherent = match (of.iter().any(|kind| kind.2), of.iter().any(|kind| !kind.2)) {
                    (true, false) => Some(true),
                    (false, true) => Some(false),
                    _ => None,
                };
                for exporter in exporters()
                    .into_iter()
                    .filter(|e| e.mmap_caching().is_none())
                {
                    assert_eq!(
                        judge(reported.to_wire(), &exporter, Some(&driver)),
                        VenusType { verdict, coherent },
                        "{reported} of {driver:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn lavapipe_on_udmabuf_is_confirmed() {
        let lavapipe = [MemoryProperties::DEVICE_LOCAL | COHERENT_CACHED];
        let known = judge(0x31, &Exporter::Udmabuf, Some(&lavapipe));
        assert_eq!(known.verdict, Verdict::Confirmed(Cached));
        assert_eq!(known.coherent, Some(true));
    }

    #[test]
    fn cached_but_incoherent_memory_is_not_taken_for_write_combining() {
        let driver = [COHERENT_CACHED, CACHED];
        let known = judge(3, &Exporter::Drm, Some(&driver));
        assert_eq!(
            known.verdict,
            Verdict::Corrected(Cached, Correction::Misreported)
        );
        assert_eq!(known.coherent, Some(false));
    }

    #[test]
    fn video_memory_is_confirmed() {
        let driver = [MemoryProperties::DEVICE_LOCAL | COHERENT, COHERENT_CACHED];
        let known = judge(3, &Exporter::Drm, Some(&driver));
        assert_eq!(known.verdict, Verdict::Confirmed(WriteCombining));
        assert_eq!(known.coherent, Some(true));
    }

    #[test]
    fn worker_that_reports_memory_the_driver_lacks_is_corrected() {
        let known = judge(3, &Exporter::Drm, Some(&[COHERENT_CACHED]));
        assert_eq!(
            known.verdict,
            Verdict::Corrected(Cached, Correction::NoSuchMemory)
        );
    }
}
