//! LIST and WATCH: what blobs there are.

use coherd_protocol::sync::wire::Watch;
use coherd_sync::{Access, EntryFlags, Event, Status};
use coherd_tests::sync_rig::SyncRig;

use super::raw::{PATIENCE, Raw};
use super::{INCOHERENT, RAM, entry, mapped};
use crate::PAGE;

#[test]
fn list_says_what_each_blob_is() {
    let mut rig = SyncRig::new().unwrap();
    mapped(&mut rig, 1, 1, RAM);
    mapped(&mut rig, 2, 2, INCOHERENT);
    rig.vm.gpu.unmap_blob(2).unwrap();
    let peer = rig.peer("lister").unwrap();
    let [first, second] = [1, 2].map(|id| entry(&peer, id));
    assert!(
        first
            .flags
            .contains(EntryFlags::OPENABLE | EntryFlags::MAPPED)
    );
    assert!(!first.flags.contains(EntryFlags::NEEDS_BRACKETS));
    assert!(second.flags.contains(EntryFlags::NEEDS_BRACKETS));
    assert!(!second.flags.contains(EntryFlags::MAPPED));
    assert_eq!((second.size, second.context_id), (2 * PAGE, 1));
    assert!(second.blob > first.blob);
    // In guest RAM.
    let replies = entry(&peer, coherd_tests::blob_rig::REPLIES);
    assert!(!replies.flags.contains(EntryFlags::OPENABLE));
    let error = peer.open(replies.blob, Access::READ).unwrap_err();
    assert_eq!(error.status(), Some(Status::Unsupported));
    drop(peer);
    rig.finish().unwrap();
}

#[test]
fn resource_with_the_id_of_another_is_another_blob() {
    let mut rig = SyncRig::new().unwrap();
    mapped(&mut rig, 1, 1, RAM);
    let peer = rig.peer("lister").unwrap();
    let first = entry(&peer, 1);
    rig.vm.gpu.unref(1).unwrap();
    mapped(&mut rig, 1, 1, RAM);
    let second = entry(&peer, 1);
    assert_ne!(first.blob, second.blob);
    assert_eq!(second.generation, first.generation + 1);
    let unknown = peer.open(second.blob + 1, Access::READ).unwrap_err();
    assert_eq!(unknown.status(), Some(Status::UnknownBlob));
    drop(peer);
    rig.finish().unwrap();
}

#[test]
fn watcher_hears_of_blobs_that_come_and_go() {
    let mut rig = SyncRig::new().unwrap();
    let peer = rig.peer("watcher").unwrap();
    let watch = peer.watch().unwrap();
    mapped(&mut rig, 1, 1, RAM);
    let Some(Event::Created(created)) = watch.next(PATIENCE).unwrap() else {
        panic!("no event");
    };
    assert_eq!(created.resource_id, 1);
    rig.vm.gpu.unref(1).unwrap();
    let event = watch.next(PATIENCE).unwrap();
    assert_eq!(event, Some(Event::Destroyed(created.blob)));
    drop((watch, peer));
    rig.finish().unwrap();
}

#[test]
fn watcher_that_does_not_read_is_told_that_it_missed_something_and_holds_up_nobody() {
    let mut rig = SyncRig::new().unwrap();
    let slow = Raw::greeted(&rig.path());
    slow.send(
        2,
        &Watch {
            enable: 1.into(),
            reserved: 0.into(),
        },
    );
    assert_eq!(slow.receive(), (2, Status::Ok, 0));
    let peer = rig.peer("other").unwrap();
    let buffer = rig.vm.gpu.buffer(&[0; 4096]).unwrap();
    for _ in 0..1500 {
        let blob = coherd_tests::driver::Blob {
            resource_id: 5,
            mem: 1,
            size: PAGE,
            ..coherd_tests::driver::Blob::default()
        };
        rig.vm.gpu.create_blob(&blob, &[buffer]).unwrap();
        rig.vm.gpu.unref(5).unwrap();
    }
    // Others are answered, and later events come after the word that some are missing.
    peer.list().unwrap();
    let mut events = 0;
    while slow.receive_kind() != coherd_protocol::sync::event::LOST {
        events += 1;
    }
    assert!((100..3000).contains(&events), "{events}");
    mapped(&mut rig, 1, 1, RAM);
    while slow.receive_kind() != coherd_protocol::sync::event::CREATED {}
    drop((slow, peer));
    rig.finish().unwrap();
}
