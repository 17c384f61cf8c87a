//! A server that does what no server does.

use std::os::fd::OwnedFd;
use std::time::Duration;

use coherd_sync::{Access, Connection, FileError, Kind, Options, ReplyError, Status, SyncError};
use rustix::fs::{MemfdFlags, SealFlags};

use super::support::{Fake, Recipe, Rules};
use super::{BOTH, everything, one_blob};

/// Bytes of the header.
const HEADER: usize = 16;

#[test]
fn replies_that_are_cut_are_malformed_wherever_the_cut_is() {
    for len in HEADER..HEADER + 248 {
        let (fake, connection, id) = one_blob(Recipe::default());
        fake.tamper(move |kind, message, _| {
            if kind == Kind::Open.to_wire() {
                message.truncate(len);
            }
        });
        let error = connection.open(id, BOTH).unwrap_err();
        let SyncError::Malformed(Kind::Open, ReplyError::Truncated(got)) = error else {
            panic!("{error}");
        };
        assert_eq!(got, len - HEADER);
    }
}

#[test]
fn messages_without_a_header_end_the_connection() {
    let (fake, connection, _) = one_blob(Recipe::default());
    fake.tamper(|_, message, _| message.truncate(15));
    let error = connection.list().unwrap_err();
    assert!(matches!(error, SyncError::NotASyncServer), "{error}");
    assert!(connection.list().is_err());
}

#[test]
fn lists_that_claim_more_than_they_have_are_malformed() {
    for count in [2, 128, u32::MAX] {
        let (fake, connection, _) = one_blob(Recipe::default());
        fake.tamper(move |_, message, _| {
            message[HEADER..HEADER + 4].copy_from_slice(&count.to_le_bytes());
        });
        let error = connection.list().unwrap_err();
        assert!(
            matches!(error, SyncError::Malformed(Kind::List, _)),
            "{error}"
        );
    }
}

#[test]
fn list_whose_ids_do_not_go_up_ends() {
    let (fake, connection, id) = one_blob(Recipe::default());
    fake.tamper(|_, message, _| message[HEADER + 4] = 1);
    let listed = connection.list().unwrap();
    assert!(listed.iter().all(|entry| entry.blob == id));
    assert!(listed.len() <= 2);
}

#[test]
fn reply_to_something_else_is_no_answer() {
    let (fake, connection, _) = one_blob(Recipe::default());
    fake.tamper(|_, message, _| message[0] ^= 1);
    let error = connection.list().unwrap_err();
    assert!(matches!(error, SyncError::NotASyncServer), "{error}");
}

#[test]
fn unknown_status_is_a_failure() {
    let (fake, connection, _) = one_blob(Recipe::default());
    fake.tamper(|_, message, _| message[8] = 0xfe);
    let error = connection.list().unwrap_err();
    assert_eq!(error.status(), Some(Status::Failed));
}

#[test]
fn replies_that_nobody_asked_for_and_unknown_events_are_ignored() {
    let (fake, connection, id) = one_blob(Recipe::default());
    let watch = connection.watch().unwrap();
    let mut first = true;
    fake.tamper(move |kind, message, _| {
        if kind == Kind::List.to_wire() && first {
            first = false;
            // An event of a later version.
            message[..HEADER].fill(0);
            message[1] = 0x2f;
        }
    });
    let limit = Options {
        answer_within: Duration::from_millis(50),
        ..everything()
    };
    let impatient = Connection::connect(fake.path(), &limit).unwrap();
    assert!(impatient.list().is_err());
    assert_eq!(impatient.list().unwrap()[0].blob, id);
    assert_eq!(watch.next(Duration::ZERO).unwrap(), None);
}

#[test]
fn answer_without_its_file_is_refused_and_the_blob_is_closed() {
    let (fake, connection, id) = one_blob(Recipe::default());
    fake.tamper(|_, _, file| *file = None);
    let error = connection.open(id, BOTH).unwrap_err();
    assert!(matches!(error, SyncError::NoFile(Kind::Open)), "{error}");
    fake.wait_until("it was closed", |state| state.opened.is_empty());
}

#[test]
fn hello_of_another_protocol_is_noticed() {
    let fake = Fake::new(Rules::default());
    fake.tamper(|_, message, _| message[HEADER] = b'X');
    let error = Connection::connect(fake.path(), &Options::default()).unwrap_err();
    assert!(matches!(error, SyncError::NotASyncServer), "{error}");
}

/// Opens a blob whose file, and where it begins, are those of a hostile server.
fn map_error(recipe: Recipe, tamper: fn(&mut Vec<u8>, &mut Option<OwnedFd>)) -> SyncError {
    let (fake, connection, id) = one_blob(recipe);
    fake.tamper(move |kind, message, file| {
        if kind == Kind::Open.to_wire() {
            tamper(message, file);
        }
    });
    let blob = connection.open(id, Access::READ).unwrap();
    blob.map().unwrap_err()
}

#[test]
fn file_that_could_shrink_is_not_mapped() {
    let unsealed = Recipe {
        sealed: false,
        ..Recipe::default()
    };
    let error = map_error(unsealed, |_, _| {});
    assert!(
        matches!(error, SyncError::File(FileError::CanShrink)),
        "{error}"
    );
}

#[test]
fn file_that_is_smaller_than_its_blob_is_not_mapped() {
    let error = map_error(Recipe::default(), |_, file| {
        let small = rustix::fs::memfd_create("small", MemfdFlags::ALLOW_SEALING).unwrap();
        rustix::fs::ftruncate(&small, 8192).unwrap();
        rustix::fs::fcntl_add_seals(&small, SealFlags::SHRINK).unwrap();
        *file = Some(small);
    });
    assert!(
        matches!(error, SyncError::File(FileError::TooSmall { .. })),
        "{error}"
    );
}

#[test]
fn blob_that_begins_beside_a_page_or_behind_its_file_is_not_mapped() {
    let error = map_error(Recipe::default(), |message, _| message[HEADER + 8] = 1);
    assert!(
        matches!(error, SyncError::File(FileError::Unmappable { .. })),
        "{error}"
    );
    let error = map_error(Recipe::default(), |message, _| message[HEADER + 15] = 0xff);
    assert!(
        matches!(error, SyncError::File(FileError::TooSmall { .. })),
        "{error}"
    );
}

#[test]
fn blob_without_mmap_is_not_mapped() {
    let device_local = Recipe {
        mmap: false,
        ..Recipe::default()
    };
    let error = map_error(device_local, |_, _| {});
    assert!(matches!(error, SyncError::NotMappable(_)), "{error}");
}

#[test]
fn answer_that_grants_more_than_was_asked_for_does_not_make_a_blob_writable() {
    let (fake, connection, id) = one_blob(Recipe::default());
    fake.tamper(|kind, message, _| {
        if kind == Kind::Open.to_wire() {
            message[HEADER + 64] = 3;
        }
    });
    let blob = connection.open(id, Access::READ).unwrap();
    assert_eq!(blob.info().access, Access::READ);
    let mapping = blob.map().unwrap();
    assert!(matches!(mapping.write(..), Err(SyncError::ReadOnly(_))));
}

#[test]
fn server_that_reads_nothing_hangs_nobody_when_the_socket_is_full() {
    let fake = Fake::new(Rules::default());
    let (socket, relay) = rustix::net::socketpair(
        rustix::net::AddressFamily::UNIX,
        rustix::net::SocketType::SEQPACKET,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )
    .unwrap();
    // The server's answer to HELLO, and then nobody reads.
    let greeting = fake.greeting();
    rustix::net::send(&relay, &greeting, rustix::net::SendFlags::empty()).unwrap();
    let options = Options {
        answer_within: Duration::from_millis(1),
        ..Options::default()
    };
    let connection = Connection::from_fd(socket, &options).unwrap();
    for _ in 0..2000 {
        let error = connection.list().unwrap_err();
        assert!(matches!(error, SyncError::NoAnswer { .. }), "{error}");
    }
}

#[test]
fn silent_server_delays_a_peer_no_longer_than_it_wants() {
    let fake = Fake::new(Rules::default());
    let id = fake.create(Recipe::default());
    let options = Options {
        answer_within: Duration::from_millis(20),
        ..everything()
    };
    let connection = Connection::connect(fake.path(), &options).unwrap();
    let mapping = connection.open(id, BOTH).unwrap().map().unwrap();
    let guard = mapping.write(..).unwrap();
    fake.fall_silent();
    assert!(matches!(
        guard.end(),
        Err(SyncError::NoAnswer {
            request: Kind::End,
            ..
        })
    ));
    assert!(matches!(connection.list(), Err(SyncError::NoAnswer { .. })));
}
