//! Connecting.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use coherd_sync::{Access, Capabilities, Connection, Options, Status, SyncError};

use super::support::{Fake, Rules};
use super::{BOTH, everything};

#[test]
fn peer_learns_what_it_may_do() {
    let fake = Fake::new(Rules::default());
    let connection = Connection::connect(fake.path(), &everything()).unwrap();
    assert_eq!(connection.capabilities(), Capabilities::all());
    assert_eq!(connection.access(), BOTH);
    assert_eq!(connection.instance(), 77);
    assert_eq!(connection.server(), "fake");
    assert!(connection.peer() >= 16);
}

#[test]
fn peer_that_asks_for_nothing_may_only_read() {
    let fake = Fake::new(Rules::default());
    let connection = Connection::connect(fake.path(), &Options::default()).unwrap();
    assert_eq!(connection.access(), Access::READ);
    assert!(!connection.capabilities().contains(Capabilities::WRITE));
}

#[test]
fn peer_gets_no_more_than_the_server_allows() {
    let capabilities = Capabilities::WATCH;
    let fake = Fake::new(Rules {
        capabilities,
        ..Rules::default()
    });
    let connection = Connection::connect(fake.path(), &everything()).unwrap();
    assert_eq!(connection.capabilities(), capabilities);
}

#[test]
fn inherited_socket_is_as_good() {
    let fake = Fake::new(Rules::default());
    let connection = Connection::from_fd(fake.socket(), &Options::default()).unwrap();
    assert_eq!(connection.list().unwrap(), []);
}

#[test]
fn peer_that_is_not_let_in_is_told() {
    let fake = Fake::new(Rules {
        allowed: false,
        ..Rules::default()
    });
    let error = Connection::connect(fake.path(), &Options::default()).unwrap_err();
    assert_eq!(error.status(), Some(Status::Denied));
}

#[test]
fn server_of_another_version_is_told_apart() {
    let fake = Fake::new(Rules {
        version: 7,
        ..Rules::default()
    });
    let error = Connection::connect(fake.path(), &Options::default()).unwrap_err();
    assert!(matches!(error, SyncError::Version(7)), "{error}");
}

#[test]
fn path_where_nobody_listens_is_named() {
    let error = Connection::connect("/nonexistent/sync", &Options::default()).unwrap_err();
    assert!(error.to_string().contains("/nonexistent/sync"), "{error}");
}

#[test]
fn socket_of_another_type_is_refused() {
    let (socket, _peer) = UnixDatagram::pair().unwrap();
    let error = Connection::from_fd(socket.into(), &Options::default()).unwrap_err();
    assert!(matches!(error, SyncError::NotASyncSocket), "{error}");
    let file = tempfile::tempfile().unwrap();
    let error = Connection::from_fd(file.into(), &Options::default()).unwrap_err();
    assert!(matches!(error, SyncError::NotASyncSocket), "{error}");
}

#[test]
fn silent_server_is_given_up() {
    let (socket, _peer) = rustix::net::socketpair(
        rustix::net::AddressFamily::UNIX,
        rustix::net::SocketType::SEQPACKET,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )
    .unwrap();
    let options = Options {
        answer_within: Duration::from_millis(20),
        ..Options::default()
    };
    let error = Connection::from_fd(socket, &options).unwrap_err();
    assert!(matches!(error, SyncError::NoAnswer { .. }), "{error}");
}
