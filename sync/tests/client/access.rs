//! Brackets.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::{Duration, Instant};

use coherd_sync::{Access, Capabilities, Connection, Kind, Options, Status, SyncError};

use super::support::{Fake, PATIENCE, Recipe, Rules, contents};
use super::{BOTH, everything, mapped, one_blob};

#[test]
fn reader_sees_what_the_gpu_wrote_and_nothing_else() {
    let (fake, blob, mapping) = mapped(Recipe::default());
    let id = blob.info().blob;
    assert_eq!(mapping.read(..).unwrap().to_vec(), fake.gpu(id));

    let fresh = contents(99, 3 * 4096);
    fake.gpu_writes(id, &fresh);

    let part = mapping.read(4096..8192).unwrap();
    assert_eq!(part.to_vec(), fresh[4096..8192]);
    assert_eq!(part.len(), 4096);
}

#[test]
fn writer_is_seen_by_the_gpu_after_the_end_and_not_before() {
    let (fake, blob, mapping) = mapped(Recipe::default());
    let id = blob.info().blob;
    let before = fake.gpu(id);
    let mut guard = mapping.write(100..300).unwrap();
    guard.copy_from(0, &[7; 200]).unwrap();
    assert_eq!(fake.gpu(id), before);

    guard.end().unwrap();

    let mut after = before;
    after[100..300].fill(7);
    assert_eq!(fake.gpu(id), after);
}

#[test]
fn reader_and_writer_in_one_changes_a_part() {
    let (fake, blob, mapping) = mapped(Recipe::default());
    let id = blob.info().blob;
    let mut expected = fake.gpu(id);
    let mut guard = mapping.read_write(..).unwrap();
    let mut byte = [0];
    guard.copy_to(5000, &mut byte).unwrap();
    assert_eq!(byte[0], expected[5000]);
    guard.copy_from(5000, &[!byte[0]]).unwrap();

    drop(guard);

    expected[5000] = !byte[0];
    assert_eq!(fake.gpu(id), expected);
}

#[test]
fn whole_blob_goes_through_files_in_both_directions() {
    let (fake, blob, mapping) = mapped(Recipe {
        size: 5 * 65536 + 4096,
        ..Recipe::default()
    });
    let id = blob.info().blob;
    let mut saved = Vec::new();
    mapping.read(..).unwrap().write_to(&mut saved).unwrap();
    assert_eq!(saved, fake.gpu(id));

    saved.reverse();
    let mut guard = mapping.write(..).unwrap();
    guard.read_from(&mut saved.as_slice()).unwrap();
    guard.end().unwrap();
    assert_eq!(fake.gpu(id), saved);

    let short = mapping
        .write(..)
        .unwrap()
        .read_from(&mut &saved[1..])
        .unwrap_err();
    assert_eq!(short.kind(), std::io::ErrorKind::UnexpectedEof);
}

#[test]
fn bytes_outside_the_bracket_are_out_of_reach() {
    let (_fake, _blob, mapping) = mapped(Recipe::default());
    let mut guard = mapping.read_write(10..20).unwrap();
    for (offset, len) in [(0, 11), (10, 1), (usize::MAX, 1)] {
        let mut out = vec![0; len];
        assert!(guard.copy_to(offset, &mut out).is_err());
        assert!(guard.copy_from(offset, &out).is_err());
    }
}

#[test]
fn ranges_outside_the_blob_are_refused_before_anything_is_sent() {
    let (fake, _blob, mapping) = mapped(Recipe::default());
    for range in [0..12289, 12288..12289, usize::MAX - 1..usize::MAX] {
        let error = mapping.read(range).unwrap_err();
        assert!(matches!(error, SyncError::OutOfRange { .. }), "{error}");
    }
    assert!(matches!(mapping.read(5..5), Err(SyncError::Empty)));
    fake.wait_until("requests without BEGIN", |state| {
        !state.requests.contains(&Kind::Begin.to_wire())
    });
}

#[test]
fn guard_that_is_dropped_ends_its_bracket() {
    let (fake, _blob, mapping) = mapped(Recipe::default());
    drop(mapping.read(..).unwrap());
    fake.wait_until("the read ended", |state| state.open.is_empty());
    drop(mapping.write(..).unwrap());
    assert_eq!(fake.open_brackets(), 0);
}

#[test]
fn guard_ends_its_bracket_when_a_panic_unwinds() {
    let (fake, _blob, mapping) = mapped(Recipe::default());
    let unwound = catch_unwind(AssertUnwindSafe(|| {
        let _read = mapping.read(..).unwrap();
        let _write = mapping.write(..).unwrap();
        panic!("on purpose");
    }));
    assert!(unwound.is_err());
    fake.wait_until("both ended", |state| state.open.is_empty());
}

#[test]
fn blob_that_is_closed_takes_its_brackets_along() {
    let (fake, blob, mapping) = mapped(Recipe::default());
    std::mem::forget(mapping.read(..).unwrap());
    drop(mapping);
    drop(blob);
    fake.wait_until("it is closed", |state| {
        state.opened.is_empty() && state.open.is_empty()
    });
}

#[test]
fn many_brackets_are_open_at_once() {
    let (fake, _blob, mapping) = mapped(Recipe::default());
    let readers: Vec<_> = (0..500).map(|_| mapping.read(..).unwrap()).collect();
    let writers: Vec<_> = (0..500)
        .map(|place| mapping.write(place..place + 1).unwrap())
        .collect();
    assert_eq!(fake.open_brackets(), 1000);
    drop(readers);
    drop(writers);
    fake.wait_until("all ended", |state| state.open.is_empty());
}

#[test]
fn brackets_over_the_limit_are_refused_and_room_is_made_by_an_end() {
    let fake = Fake::new(Rules {
        max_brackets: 3,
        ..Rules::default()
    });
    let id = fake.create(Recipe::default());
    let connection = Connection::connect(fake.path(), &everything()).unwrap();
    let mapping = connection.open(id, BOTH).unwrap().map().unwrap();
    let mut guards: Vec<_> = (0..3).map(|_| mapping.read(..).unwrap()).collect();
    let error = mapping.read(..).unwrap_err();
    assert!(
        matches!(
            error,
            SyncError::Refused {
                status: Status::OverLimit,
                detail: 3,
                ..
            }
        ),
        "{error}"
    );
    guards.pop();
    guards.push(mapping.read(..).unwrap());
}

#[test]
fn hung_gpu_costs_the_time_that_was_given_and_leaves_nothing_open() {
    let (fake, blob, mapping) = mapped(Recipe::default());
    let id = blob.info().blob;
    fake.hang(id, true);
    let begun = Instant::now();

    let error = mapping
        .read_within(.., Duration::from_millis(50))
        .unwrap_err();

    assert!(error.is_timed_out(), "{error}");
    assert!(begun.elapsed() >= Duration::from_millis(50));
    assert_eq!(fake.open_brackets(), 0);
    fake.hang(id, false);
    mapping.read(..).unwrap().end().unwrap();
}

#[test]
fn hung_blob_holds_up_no_other_and_is_open_when_the_gpu_has_finished() {
    let (fake, connection, id) = one_blob(Recipe::default());
    let other = fake.create(Recipe::default());
    fake.hang(id, true);
    let hung = connection.open(id, BOTH).unwrap().map().unwrap();
    let free = connection.open(other, BOTH).unwrap().map().unwrap();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| hung.read_within(.., PATIENCE).unwrap().to_vec());
        fake.wait_until("it waits", |state| state.waiting.len() == 1);
        for _ in 0..10 {
            assert_eq!(free.read(..).unwrap().to_vec(), fake.gpu(other));
        }
        fake.hang(id, false);
        assert_eq!(waiting.join().unwrap(), fake.gpu(id));
    });
}

#[test]
fn threads_share_a_connection() {
    let (fake, connection, _) = one_blob(Recipe::default());
    let ids: Vec<_> = (0..8).map(|_| fake.create(Recipe::default())).collect();
    thread::scope(|scope| {
        for id in ids {
            let (fake, connection) = (&fake, &connection);
            scope.spawn(move || {
                let mapping = connection.open(id, BOTH).unwrap().map().unwrap();
                for round in 0..50 {
                    let data = contents(round, 3 * 4096);
                    let mut guard = mapping.write(..).unwrap();
                    guard.copy_from(0, &data).unwrap();
                    drop(guard);
                    assert_eq!(fake.gpu(id), data);
                    assert_eq!(mapping.read(..).unwrap().to_vec(), data);
                }
            });
        }
    });
    fake.wait_until("all ended", |state| state.open.is_empty());
}

#[test]
fn begin_that_is_not_answered_is_given_up_and_cancelled() {
    let fake = Fake::new(Rules::default());
    let id = fake.create(Recipe::default());
    let options = Options {
        answer_within: Duration::from_millis(50),
        ..everything()
    };
    let connection = Connection::connect(fake.path(), &options).unwrap();
    let mapping = connection.open(id, BOTH).unwrap().map().unwrap();
    fake.tamper(|kind, message, _| {
        // An answer to something else.
        if kind == Kind::Begin.to_wire() {
            message[4] ^= 0x80;
        }
    });

    let error = mapping
        .read_within(.., Duration::from_millis(1))
        .unwrap_err();

    assert!(matches!(error, SyncError::NoAnswer { .. }), "{error}");
    fake.wait_until("it was ended", |state| {
        state.requests.contains(&Kind::End.to_wire()) && state.open.is_empty()
    });
}

#[test]
fn reader_of_a_blob_cannot_write_it() {
    let fake = Fake::new(Rules::default());
    let id = fake.create(Recipe::default());
    let connection = Connection::connect(fake.path(), &Options::default()).unwrap();
    let denied = connection.open(id, BOTH).unwrap_err();
    assert_eq!(denied.status(), Some(Status::Denied));

    let mapping = connection.open(id, Access::READ).unwrap().map().unwrap();

    assert!(matches!(mapping.write(..), Err(SyncError::ReadOnly(_))));
    assert!(matches!(
        mapping.read_write(..),
        Err(SyncError::ReadOnly(_))
    ));
    assert_eq!(mapping.read(..).unwrap().to_vec(), fake.gpu(id));
}

#[test]
fn reader_has_a_file_that_cannot_be_written() {
    use std::os::fd::AsFd;

    let (_fake, connection, id) = one_blob(Recipe::default());
    let blob = connection.open(id, Access::READ).unwrap();
    let written = rustix::io::pwrite(blob.as_fd(), &[1], 0);
    assert_eq!(written, Err(rustix::io::Errno::BADF));
}

#[test]
fn blob_that_was_destroyed_stays_mapped_but_begins_nothing() {
    let (fake, blob, mapping) = mapped(Recipe::default());
    let id = blob.info().blob;
    let mut guard = mapping.write(..10).unwrap();
    fake.destroy(id);
    guard.copy_from(0, &[3; 10]).unwrap();
    guard.end().unwrap();
    assert_eq!(fake.gpu(id)[..10], [3; 10]);
    let gone = mapping.read(..).unwrap_err();
    assert_eq!(gone.status(), Some(Status::Gone));
}

#[test]
fn fences_go_both_ways() {
    let (_fake, connection, id) = one_blob(Recipe::default());
    let blob = connection.open(id, BOTH).unwrap();
    let fence = blob.export_fence(Access::READ).unwrap();
    blob.import_fence(&fence, Access::WRITE).unwrap();
}

#[test]
fn dead_server_fails_every_call_and_hangs_none() {
    let (fake, connection, id) = one_blob(Recipe::default());
    let blob = connection.open(id, BOTH).unwrap();
    let mapping = blob.map().unwrap();
    let guard = mapping.write(..).unwrap();
    fake.hang(id, true);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| mapping.read_within(.., PATIENCE).map(drop));
        fake.wait_until("it waits", |state| state.waiting.len() == 1);

        fake.die();

        assert!(waiting.join().unwrap().unwrap_err().is_disconnected());
    });
    assert!(guard.end().unwrap_err().is_disconnected());
    assert!(connection.list().unwrap_err().is_disconnected());
    assert!(mapping.read(..).unwrap_err().is_disconnected());
    drop((mapping, blob));
    fake.wait_until("the server ended what was left", |state| {
        state.open.is_empty() && state.opened.is_empty()
    });
}

#[test]
fn peer_without_write_is_told_so_by_its_capabilities() {
    let fake = Fake::new(Rules {
        capabilities: Capabilities::all() - Capabilities::WRITE,
        ..Rules::default()
    });
    let connection = Connection::connect(fake.path(), &everything()).unwrap();
    assert_eq!(connection.access(), Access::READ);
}
