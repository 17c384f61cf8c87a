//! Accesses to memory of a driver that notes what it is asked for.

use std::fmt::Write as _;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use coherd_blob::backing::ExportKind;
use coherd_blob::bracket::BracketError;
use coherd_blob::{Access, Backing, Holder, MapInfo, MemoryProperties};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

use super::*;
use crate::mapping_type::MappingType;

const SIZE: u64 = 4096;
const ATOM: u64 = 64;
const READ_WRITE: Access = Access::READ.union(Access::WRITE);

/// Notes what it is asked for, and refuses one thing.
#[derive(Debug, Default)]
struct Notes {
    text: Mutex<String>,
    refused: Mutex<Option<&'static str>>,
    coherent: bool,
}

impl Notes {
    fn note(&self, what: &'static str, rest: &str) -> Result<(), AccessError> {
        let _ = write!(self.text.lock().unwrap(), "{what}{rest} ");
        match *self.refused.lock().unwrap() {
            Some(refused) if refused == what => Err(AccessError::DeviceLost),
            _ => Ok(()),
        }
    }

    fn take(&self) -> String {
        std::mem::take(&mut *self.text.lock().unwrap())
    }

    fn refuse(&self, what: Option<&'static str>) {
        *self.refused.lock().unwrap() = what;
    }
}

impl DeviceMemory for Notes {
    fn atom(&self) -> Option<u64> {
        (!self.coherent).then_some(ATOM)
    }

    fn memory_type(&self) -> (u32, MemoryProperties) {
        (0, MemoryProperties::HOST_VISIBLE)
    }

    fn wait(&self, access: Access, _: &Patience<'_>) -> Result<(), AccessError> {
        self.note("wait", &access.bits().to_string())
    }

    fn invalidate(&self, range: Range<u64>) -> Result<(), AccessError> {
        self.note("invalidate", &format!("{range:?}"))
    }

    fn flush(&self, range: Range<u64>) -> Result<(), AccessError> {
        self.note("flush", &format!("{range:?}"))
    }
}

fn record(coherent: bool) -> (BlobRecord, Arc<Notes>) {
    let fd = memfd_create("blob", MemfdFlags::ALLOW_SEALING).unwrap();
    ftruncate(&fd, SIZE).unwrap();
    let backing = Backing::new(fd, ExportKind::Shm, SIZE).unwrap();
    let types = MappingType {
        told: MapInfo::Cached,
        coherent,
        file: Some(MapInfo::Cached),
        effective: None,
    };
    let notes = Arc::new(Notes {
        coherent,
        ..Notes::default()
    });
    let memory: Arc<dyn DeviceMemory> = Arc::clone(&notes) as _;
    (BlobRecord::new(backing, Some(types), Some(memory)), notes)
}

fn soon() -> Patience<'static> {
    Patience::until(Instant::now() + Duration::from_secs(10))
}

fn begin(record: &BlobRecord, access: Access, range: Range<u64>) -> Result<Bracket, AccessError> {
    record.begin(Holder::Guest, access, range, &soon())
}

fn open(record: &BlobRecord) -> u32 {
    record.held().iter().map(|held| held.open).sum()
}

#[test]
fn reads_are_invalidated_after_the_gpu_is_waited_for_and_writes_flushed() {
    let (record, notes) = record(false);
    let reading = begin(&record, Access::READ, 0..100).unwrap();
    assert_eq!(notes.take(), "wait1 invalidate0..128 ");
    record.end(reading, &soon()).unwrap();
    assert_eq!(notes.take(), "");
    let writing = begin(&record, Access::WRITE, 64..128).unwrap();
    assert_eq!(notes.take(), "wait2 ");
    record.end(writing, &soon()).unwrap();
    assert_eq!(notes.take(), "flush64..128 ");
}

#[test]
fn coherent_memory_waits_for_the_gpu_and_needs_nothing_else() {
    let (record, notes) = record(true);
    let bracket = begin(&record, READ_WRITE, 0..SIZE).unwrap();
    record.end(bracket, &soon()).unwrap();
    assert_eq!(notes.take(), "wait3 ");
}

#[test]
fn access_that_fails_to_begin_has_not_begun() {
    let (record, notes) = record(false);
    for refused in ["wait", "invalidate"] {
        notes.refuse(Some(refused));
        let begun = begin(&record, READ_WRITE, 0..SIZE);
        assert_eq!(begun, Err(AccessError::DeviceLost));
        assert_eq!(open(&record), 0);
    }
    notes.refuse(None);
    notes.take();
    // The book has no writer left whose bytes an invalidate would have to spare.
    let bracket = begin(&record, Access::READ, 0..64).unwrap();
    assert_eq!(notes.take(), "wait1 invalidate0..64 ");
    record.end(bracket, &soon()).unwrap();
}

#[test]
fn access_whose_flush_fails_is_over_and_told_of() {
    let (record, notes) = record(false);
    let bracket = begin(&record, Access::WRITE, 0..SIZE).unwrap();
    notes.refuse(Some("flush"));
    let ended = record.end(bracket, &soon());
    assert_eq!(ended, Err(AccessError::DeviceLost));
    assert_eq!(open(&record), 0);
}

#[test]
fn access_outside_the_blob_is_refused() {
    let (record, _) = record(false);
    for range in [0..0, SIZE..SIZE + 1, 0..u64::MAX] {
        let refused = begin(&record, Access::READ, range);
        assert!(matches!(
            refused,
            Err(AccessError::Bracket(BracketError::Range { .. }))
        ));
    }
    assert_eq!(open(&record), 0);
}

#[test]
fn access_waits_for_its_turn_until_its_deadline() {
    let (record, notes) = record(false);
    let stuck = record.turn().take(&soon()).unwrap();
    let now = Patience::until(Instant::now());
    let begun = record.begin(Holder::Guest, Access::READ, 0..64, &now);
    assert_eq!(begun, Err(PatienceError::TimedOut.into()));
    drop(stuck);
    let bracket = begin(&record, Access::WRITE, 0..64).unwrap();
    notes.take();
    let stuck = record.turn().take(&soon()).unwrap();
    let ended = record.end(bracket, &now);
    assert_eq!(ended, Err(PatienceError::TimedOut.into()));
    // It is over, though nobody flushed.
    assert_eq!((notes.take().as_str(), open(&record)), ("", 0));
    drop(stuck);
}

#[test]
fn ledger_tells_of_the_daemon_where_it_maps_and_of_guest_and_vmm_while_they_do() {
    let (incoherent, _) = record(false);
    let (coherent, _) = record(true);
    let holders = |record: &BlobRecord| -> Vec<(Holder, u32)> {
        let held = record.held();
        held.iter().map(|held| (held.holder, held.count)).collect()
    };
    assert_eq!(holders(&incoherent), [(Holder::Daemon, 1)]);
    assert_eq!(holders(&coherent), []);
    coherent.note_mapped();
    assert_eq!(holders(&coherent), [(Holder::Guest, 1), (Holder::Vmm, 1)]);
    coherent.note_unmapped(false);
    assert_eq!(holders(&coherent), [(Holder::Vmm, 1)]);
    coherent.note_unmapped(true);
    assert_eq!(holders(&coherent), [(Holder::Vmm, 1)]);
}
