//! WATCH.

use std::os::fd::AsFd;
use std::time::Duration;

use coherd_sync::{Event, SyncError};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::one_blob;
use super::support::{PATIENCE, Recipe};

#[test]
fn watcher_hears_of_blobs_that_come_and_go() {
    let (fake, connection, first) = one_blob(Recipe::default());
    let watch = connection.watch().unwrap();
    let second = fake.create(Recipe::default());
    fake.destroy(first);
    fake.lose_events();

    let created = watch.next(PATIENCE).unwrap();
    let Some(Event::Created(entry)) = created else {
        panic!("{created:?}");
    };
    assert_eq!((entry.blob, entry.size), (second, 3 * 4096));
    assert_eq!(watch.next(PATIENCE).unwrap(), Some(Event::Destroyed(first)));
    assert_eq!(watch.next(PATIENCE).unwrap(), Some(Event::Lost));
    assert_eq!(watch.next(Duration::ZERO).unwrap(), None);
}

#[test]
fn connection_has_one_watch_at_a_time() {
    let (fake, connection, _) = one_blob(Recipe::default());
    let watch = connection.watch().unwrap();
    assert!(matches!(connection.watch(), Err(SyncError::Watched)));
    drop(watch);
    fake.wait_until("it ended", |state| state.watchers.is_empty());
    connection.watch().unwrap();
}

#[test]
fn events_come_between_replies_and_are_kept() {
    let (fake, connection, _) = one_blob(Recipe::default());
    let watch = connection.watch().unwrap();
    let created: Vec<_> = (0..100)
        .map(|_| {
            let id = fake.create(Recipe::default());
            connection.list().unwrap();
            id
        })
        .collect();
    for id in created {
        let event = watch.next(Duration::ZERO).unwrap();
        assert!(
            matches!(event, Some(Event::Created(entry)) if entry.blob == id),
            "{event:?}"
        );
    }
}

#[test]
fn socket_can_be_polled_and_asked_without_waiting() {
    let (fake, connection, _) = one_blob(Recipe::default());
    let watch = connection.watch().unwrap();
    assert_eq!(watch.next(Duration::ZERO).unwrap(), None);
    let id = fake.create(Recipe::default());
    let mut fds = [PollFd::from_borrowed_fd(connection.as_fd(), PollFlags::IN)];
    let patience = Timespec::try_from(PATIENCE).unwrap();
    assert_eq!(poll(&mut fds, Some(&patience)), Ok(1));
    let event = watch.next(Duration::ZERO).unwrap();
    assert!(matches!(event, Some(Event::Created(entry)) if entry.blob == id));
}

#[test]
fn watcher_of_a_dead_server_is_told() {
    let (fake, connection, _) = one_blob(Recipe::default());
    let watch = connection.watch().unwrap();
    fake.die();
    let error = watch.next(PATIENCE).unwrap_err();
    assert!(error.is_disconnected(), "{error}");
}
