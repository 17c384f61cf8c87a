//! Guards: which commands they send, when, and what becomes of the bytes.

use coherd_protocol::blob_context::command::opcode;

use super::{COHERENT, allocate, incoherent};
use crate::fake::{ATOM, FakeHost, Fault};
use crate::{AccessError, Status};

const START_READ: &str = "SYNC SyncFlags(READ) 0..16";
const END_READ: &str = "SYNC SyncFlags(READ | END) 0..16";
const START_WRITE: &str = "SYNC SyncFlags(WRITE) 0..16";
const END_WRITE: &str = "SYNC SyncFlags(WRITE | END) 0..16";

#[test]
fn guards_of_coherent_memory_send_nothing() {
    let host = FakeHost::new();
    let context = host.open();
    let mapping = allocate(&context, COHERENT).map().unwrap();
    host.executed();
    let mut guard = mapping.read_write(..).unwrap();
    guard.copy_from(8, &[1, 2, 3]).unwrap();
    assert_eq!(guard.to_vec()[8..11], [1, 2, 3]);
    assert!(!guard.is_bracketed());
    guard.end().unwrap();
    drop(mapping.read(..).unwrap());
    assert!(host.executed().is_empty());
}

#[test]
fn guards_of_incoherent_memory_are_start_and_end_with_the_same_range() {
    let (host, _context, allocation) = incoherent();
    let mapping = allocation.map().unwrap();
    let guard = mapping.read(..16).unwrap();
    assert_eq!(host.executed(), [START_READ]);
    guard.end().unwrap();
    assert_eq!(host.executed(), [END_READ]);

    mapping.write(0..=15).unwrap().end().unwrap();
    assert_eq!(host.executed(), [START_WRITE, END_WRITE]);

    mapping.read_write(4096..8192).unwrap().end().unwrap();
    let both = "SYNC SyncFlags(READ | WRITE) 4096..8192";
    assert_eq!(
        host.executed(),
        [both, "SYNC SyncFlags(READ | WRITE | END) 4096..8192"]
    );
}

#[test]
fn dropped_guard_ends_before_what_is_sent_next() {
    let (host, context, allocation) = incoherent();
    let mapping = allocation.map().unwrap();
    let mut guard = mapping.write(..16).unwrap();
    guard.fill(0x5a);
    drop(guard);
    context
        .copy(allocation.at(0), allocation.at(4096), 16)
        .unwrap()
        .wait()
        .unwrap();
    assert_eq!(host.executed(), [START_WRITE, END_WRITE, "COPY"]);
    let copied = mapping.read(4096..4112).unwrap().to_vec();
    assert_eq!(copied, [0x5a; 16]);
}

#[test]
fn bytes_reach_the_gpu_with_brackets_and_not_without() {
    let (_host, context, allocation) = incoherent();
    let mapping = allocation.map().unwrap();
    let copied = || {
        context
            .copy(allocation.at(0), allocation.at(4096), 4)
            .unwrap()
            .wait()
            .unwrap();
        mapping.read(4096..4100).unwrap().to_vec()
    };
    mapping.without_sync().write(0, &[9; 4]).unwrap();
    assert_eq!(copied(), [0; 4], "stale");
    mapping.write(..4).unwrap().copy_from(0, &[9; 4]).unwrap();
    assert_eq!(copied(), [9; 4]);
}

#[test]
fn what_the_gpu_wrote_is_seen_with_brackets_and_not_without() {
    let (_host, context, allocation) = incoherent();
    let mapping = allocation.map().unwrap();
    context
        .fill(allocation.at(0), 8, 0x0101_0101)
        .unwrap()
        .wait()
        .unwrap();
    let mut bytes = [0; 8];
    mapping.without_sync().read(0, &mut bytes).unwrap();
    assert_eq!(bytes, [0; 8], "stale");
    assert_eq!(mapping.read(..8).unwrap().to_vec(), [1; 8]);
}

#[test]
fn overlapping_guards_are_refused_unless_both_read() {
    let (host, _context, allocation) = incoherent();
    let mapping = allocation.map().unwrap();
    let other = allocation.map().unwrap();
    let reading = mapping.read(..16).unwrap();
    let also_reading = other.read(8..64).unwrap();
    host.executed();
    let atom = usize::try_from(ATOM).unwrap();
    let error = other.write(atom - 1..atom + 1).unwrap_err();
    assert!(
        matches!(error, AccessError::InUse { atom: ATOM, .. }),
        "{error}"
    );
    let beyond = other.write(atom..2 * atom).unwrap();
    drop((reading, also_reading, beyond));
    host.executed();
    other.write(..16).unwrap().end().unwrap();
    assert_eq!(host.executed(), [START_WRITE, END_WRITE]);
}

#[test]
fn start_that_the_host_refuses_leaves_nothing_open() {
    let (host, _context, allocation) = incoherent();
    let mapping = allocation.map().unwrap();
    host.fail(Fault::Refuse(opcode::SYNC, Status::TimedOut));
    let error = mapping.write(..16).unwrap_err();
    let AccessError::Begin(call) = &error else {
        panic!("{error}");
    };
    assert_eq!(call.status(), Some(Status::TimedOut));
    assert!(error.to_string().contains("the GPU still uses the memory"));
    assert_eq!(host.executed(), [format!("{START_WRITE}: TimedOut")]);
    host.fail(Fault::None);
    assert!(mapping.write(..16).is_ok());
}

#[test]
fn start_without_an_answer_is_ended_in_case_it_was_begun() {
    let (host, _context, allocation) = incoherent();
    let mapping = allocation.map().unwrap();
    host.fail(Fault::Lost);
    assert!(matches!(mapping.write(..16), Err(AccessError::Begin(_))));
    host.fail(Fault::None);
    mapping.write(..16).unwrap().end().unwrap();
    assert_eq!(host.executed(), [START_WRITE, END_WRITE]);
}

#[test]
fn end_that_fails_is_told() {
    let (host, _context, allocation) = incoherent();
    let mapping = allocation.map().unwrap();
    let guard = mapping.write(..16).unwrap();
    host.fail(Fault::Refuse(opcode::SYNC, Status::DeviceLost));
    assert!(matches!(guard.end(), Err(AccessError::End(_))));
}

#[test]
fn empty_ranges_are_no_brackets() {
    let (host, _context, allocation) = incoherent();
    let mapping = allocation.map().unwrap();
    let guard = mapping.read(16..16).unwrap();
    assert!(guard.is_empty() && guard.to_vec().is_empty());
    guard.end().unwrap();
    assert!(host.executed().is_empty());
}

#[test]
fn ranges_outside_are_refused_and_send_nothing() {
    let (host, _context, allocation) = incoherent();
    let mapping = allocation.map().unwrap();
    let len = mapping.len();
    assert!(matches!(
        mapping.read(..len + 1),
        Err(AccessError::Range(_))
    ));
    assert!(matches!(
        mapping.read(len + 1..),
        Err(AccessError::Range(_))
    ));
    assert!(matches!(
        mapping.read(..=usize::MAX),
        Err(AccessError::Range(_))
    ));
    #[allow(clippy::reversed_empty_ranges, reason = "that is the mistake")]
    let reversed = mapping.read(9..3);
    assert!(matches!(reversed, Err(AccessError::Range(_))));
    assert!(host.executed().is_empty());
}

#[test]
fn guard_does_not_reach_outside_of_its_range() {
    let (_host, _context, allocation) = incoherent();
    let mapping = allocation.map().unwrap();
    let mut guard = mapping.read_write(100..110).unwrap();
    guard.copy_from(0, &[7; 10]).unwrap();
    assert!(guard.copy_from(1, &[7; 10]).is_err());
    assert!(guard.copy_to(10, &mut [0]).is_err());
    guard.end().unwrap();
    let around = mapping.read(99..111).unwrap().to_vec();
    assert_eq!((around[0], around[1], around[10], around[11]), (0, 7, 7, 0));
}

#[test]
fn open_brackets_are_known_to_the_host() {
    let (_host, _context, allocation) = incoherent();
    let mapping = allocation.map().unwrap();
    let guard = mapping.read(..16).unwrap();
    assert_eq!(allocation.describe().unwrap().open, 1);
    guard.end().unwrap();
    assert_eq!(allocation.describe().unwrap().open, 0);
}
