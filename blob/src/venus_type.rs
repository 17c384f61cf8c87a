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
        coherent: common(candidates.iter().map(|memory| memory.coherent)),
    }
}

/// The types for which virglrenderer reports `reported`.
fn filter(types: &[MemoryType], reported: MapInfo) -> Vec<MemoryType> {
    let report = |memory: &MemoryType| {
        if *memory == MemoryType::RAM {
            MapInfo::Cached
        } else {
            MapInfo::WriteCombining
        }
    };
    let reported = |memory: &MemoryType| report(memory) == reported;
    types.iter().copied().filter(reported).collect()
}

/// The value that all have, if there is one.
fn common<T: PartialEq>(mut values: impl Iterator<Item = T>) -> Option<T> {
    let first = values.next()?;
    values.all(|value| value == first).then_some(first)
}
