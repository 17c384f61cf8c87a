//! Decisions about files that exist and files that do not.

use std::os::fd::OwnedFd;

use coherd_blob::policy::Mismatch;
use coherd_blob::venus_type::Correction;
use rustix::fs::{MemfdFlags, memfd_create};

use super::*;

const VISIBLE: MemoryProperties = MemoryProperties::HOST_VISIBLE;
const COHERENT: MemoryProperties = VISIBLE.union(MemoryProperties::HOST_COHERENT);
const CACHED: MemoryProperties = VISIBLE.union(MemoryProperties::HOST_CACHED);
const BOTH: MemoryProperties = COHERENT.union(CACHED);

/// `map_info` as rutabaga reports it.
const SAYS_CACHED: u32 = 0x31;
const SAYS_WC: u32 = 0x33;

fn memfd() -> Exporter {
    let fd: OwnedFd = memfd_create("blob", MemfdFlags::CLOEXEC).unwrap();
    Exporter::of(&fd).unwrap()
}

fn guessed(map_info: u32, driver: &[MemoryProperties]) -> Source<'_> {
    Source::Guessed {
        map_info,
        driver: Some(driver),
    }
}

fn allocated(properties: MemoryProperties, can_prefer_cached: bool) -> Source<'static> {
    Source::Allocated {
        memory: Allocated {
            properties,
            integrated: Some(false),
        },
        can_prefer_cached,
    }
}

fn decide_by(types: &MappingTypes, exporter: &Exporter, source: Source<'_>) -> Outcome {
    types.decide_mapping(&"resource 1", exporter, source)
}

fn with(policy: MismatchPolicy) -> MappingTypes {
    MappingTypes::new(Policies::all(policy), HostFacts::unknown())
}

fn counts(corrected: u64, mismatched: u64, refused: u64) -> Counts {
    Counts {
        corrected,
        mismatched,
        refused,
    }
}

fn told(outcome: Outcome) -> Option<MapInfo> {
    match outcome {
        Outcome::Map(types) => Some(types.told),
        _ => None,
    }
}

#[test]
fn cached_shared_memory_agrees_on_every_host() {
    for policy in [
        MismatchPolicy::Warn,
        MismatchPolicy::Refuse,
        MismatchPolicy::PreferCached,
    ] {
        let types = with(policy);
        let Outcome::Map(mapping) = decide_by(&types, &memfd(), guessed(SAYS_CACHED, &[BOTH]))
        else {
            panic!("{policy} keeps what agrees from being mapped");
        };
        assert_eq!(mapping.told, MapInfo::Cached);
        assert!(mapping.is_agreed() && mapping.coherent, "{mapping:?}");
        assert_eq!(types.counts(), Counts::default());
    }
}

#[test]
fn shared_memory_that_is_reported_otherwise_is_told_as_cached_and_counted() {
    let types = MappingTypes::default();
    for (raw, driver) in [(SAYS_WC, &[BOTH][..]), (0x12, &[]), (3, &[BOTH, COHERENT])] {
        let outcome = decide_by(&types, &memfd(), guessed(raw, driver));
        assert_eq!(told(outcome), Some(MapInfo::Cached), "{raw:#x}");
    }
    assert_eq!(types.counts(), counts(3, 0, 0));
}

#[test]
fn refusal_is_for_wrong_reports_too() {
    let types = with(MismatchPolicy::Refuse);
    let outcome = decide_by(&types, &memfd(), guessed(SAYS_WC, &[BOTH]));
    let finding = Finding::Corrected(Correction::OrdinaryRam);
    assert_eq!(outcome, Outcome::Refuse(finding));
    assert_eq!(types.counts(), counts(0, 0, 1));
}

#[test]
fn incoherent_memory_of_venus_is_cached_and_not_for_its_guests() {
    // virglrenderer says write-combining of cached memory that is not coherent.
    let driver = [BOTH, CACHED];
    let source = guessed(SAYS_WC, &driver);
    let types = MappingTypes::default();
    let outcome = decide_by(&types, &Exporter::Drm, source);
    let Outcome::Map(mapping) = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!((mapping.told, mapping.coherent), (MapInfo::Cached, false));
    assert_eq!(types.counts(), counts(1, 1, 0));

    let refused = decide_by(&with(MismatchPolicy::PreferCached), &Exporter::Drm, source);
    let finding = Finding::Mismatch(Mismatch::NoBrackets);
    assert_eq!(refused, Outcome::Refuse(finding));
}

#[test]
fn file_of_an_unknown_exporter_is_mapped_as_reported_with_a_warning() {
    let exporter = Exporter::from_name("somebody");
    let types = MappingTypes::default();
    for raw in [SAYS_CACHED, SAYS_WC] {
        let outcome = decide_by(&types, &exporter, guessed(raw, &[BOTH, COHERENT]));
        assert_eq!(told(outcome), MapInfo::from_renderer(raw));
    }
    assert_eq!(types.counts(), counts(0, 2, 0));

    let refused = decide_by(
        &with(MismatchPolicy::Refuse),
        &exporter,
        guessed(SAYS_CACHED, &[BOTH]),
    );
    assert!(matches!(refused, Outcome::Refuse(_)), "{refused:?}");
}

#[test]
fn drm_file_is_cached_as_the_driver_s_types_say() {
    let driver = [BOTH, COHERENT, MemoryProperties::DEVICE_LOCAL];
    let emulated = MappingTypes::default();
    emulated.lock().hypervisor = Hypervisor::Emulation;
    for (raw, caching) in [
        (SAYS_CACHED, MapInfo::Cached),
        (SAYS_WC, MapInfo::WriteCombining),
    ] {
        let outcome = decide_by(&emulated, &Exporter::Drm, guessed(raw, &driver));
        let Outcome::Map(mapping) = outcome else {
            panic!("{outcome:?}");
        };
        assert_eq!((mapping.told, mapping.file), (caching, Some(caching)));
        assert!(mapping.is_agreed());
    }
    assert_eq!(emulated.counts(), Counts::default());
}

#[test]
fn write_combining_memory_is_allocated_cached_where_the_hypervisor_may_cache_it() {
    let types = MappingTypes::default();
    let first = decide_by(&types, &Exporter::Drm, allocated(COHERENT, true));
    assert_eq!(first, Outcome::AllocateInstead(MapInfo::Cached));
    let only = decide_by(&types, &Exporter::Drm, allocated(COHERENT, false));
    assert_eq!(told(only), Some(MapInfo::WriteCombining));
    assert_eq!(types.counts(), counts(0, 1, 0));
}

#[test]
fn guest_of_the_blob_context_may_have_memory_that_it_has_to_flush() {
    let types = MappingTypes::default();
    let outcome = decide_by(&types, &memfd(), allocated(CACHED, false));
    assert_eq!(told(outcome), Some(MapInfo::Cached));
    assert_eq!(types.counts(), Counts::default());
}

#[test]
fn memory_without_a_type_or_not_for_the_cpu_is_not_mappable() {
    let types = with(MismatchPolicy::Warn);
    for source in [
        guessed(0x30, &[BOTH]),
        guessed(0, &[]),
        allocated(MemoryProperties::DEVICE_LOCAL, false),
    ] {
        let outcome = decide_by(&types, &memfd(), source);
        assert_eq!(outcome, Outcome::NotMappable, "{source:?}");
    }
    assert_eq!(types.counts(), Counts::default());
}

#[test]
fn policy_can_change_between_blobs() {
    let types = MappingTypes::default();
    types.set_policies(Policies::all(MismatchPolicy::Refuse));
    let refused = decide_by(&types, &memfd(), guessed(SAYS_WC, &[BOTH]));
    types.set_policies(Policies::default());
    let mapped = decide_by(&types, &memfd(), guessed(SAYS_WC, &[BOTH]));
    assert_eq!((told(refused), told(mapped)), (None, Some(MapInfo::Cached)));
}
