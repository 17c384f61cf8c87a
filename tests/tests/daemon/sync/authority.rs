//! Who is let in, and for what.

use coherd::serve::Options;
use coherd::sync::AllowList;
use coherd_sync::{Access, Capabilities, EntryFlags, Status, SyncError};
use coherd_tests::sync_rig::SyncRig;
use rustix::fs::OFlags;
use rustix::process::geteuid;

use super::raw::{Raw, begin, hello, open};
use super::{RAM, READ_WRITE, entry, mapped};

fn allowing(rules: &[&str]) -> SyncRig {
    let rules = rules.iter().map(|rule| rule.parse().unwrap()).collect();
    SyncRig::with(AllowList::new(rules), Options::default()).unwrap()
}

#[test]
fn who_is_on_no_list_is_told_so_and_hung_up_on() {
    let other = format!("uid={}", geteuid().as_raw() + 1);
    let rig = allowing(&[&other]);
    let peer = Raw::connect(&rig.path());
    peer.send(1, &hello());
    assert_eq!(peer.receive(), (1, Status::Denied, 0));
    assert_eq!(peer.receive_or_end(), None);
    rig.finish().unwrap();
}

#[test]
fn peer_that_may_only_read_gets_a_file_that_cannot_be_written_and_no_bracket_to_write() {
    let own = format!("uid={}:ro", geteuid().as_raw());
    let mut rig = allowing(&[&own]);
    mapped(&mut rig, 1, 1, RAM);
    let peer = rig.peer("reader").unwrap();
    assert_eq!(peer.access(), Access::READ);
    assert!(!peer.capabilities().contains(Capabilities::WRITE));
    let entry = entry(&peer, 1);
    assert!(!entry.flags.contains(EntryFlags::WRITABLE));
    let denied = peer.open(entry.blob, READ_WRITE).unwrap_err();
    assert_eq!(denied.status(), Some(Status::Denied));

    let blob = peer.open(entry.blob, Access::READ).unwrap();

    assert_eq!(blob.info().fd_access, Access::READ);
    let flags = rustix::fs::fcntl_getfl(&blob).unwrap();
    assert_eq!(flags & OFlags::RWMODE, OFlags::RDONLY);
    let raw = Raw::greeted(&rig.path());
    raw.send(2, &open(entry.blob, Access::READ));
    assert_eq!(raw.receive(), (2, Status::Ok, 0));
    raw.send(3, &begin(entry.blob, 1, Access::WRITE, 0));
    assert_eq!(raw.receive(), (3, Status::Denied, 0));
    drop((blob, peer, raw));
    rig.finish().unwrap();
}

#[test]
fn peer_gets_what_it_asks_for_and_no_more() {
    let mut rig = SyncRig::new().unwrap();
    mapped(&mut rig, 1, 1, RAM);
    let options = coherd_sync::Options {
        capabilities: Capabilities::empty(),
        ..coherd_sync::Options::default()
    };
    let peer = coherd_sync::Connection::connect(rig.path(), &options).unwrap();
    assert_eq!(peer.capabilities(), Capabilities::empty());
    let blob = entry(&peer, 1).blob;
    let refused = |error: SyncError| error.status().unwrap();
    assert_eq!(refused(peer.watch().unwrap_err()), Status::Unsupported);
    let describe = peer.describe(blob).unwrap_err();
    assert_eq!(refused(describe), Status::Unsupported);
    let open = peer.open(blob, READ_WRITE).unwrap_err();
    assert_eq!(refused(open), Status::Denied);
    drop(peer);
    rig.finish().unwrap();
}

#[test]
fn nothing_is_answered_before_hello_and_hello_is_said_once() {
    let rig = SyncRig::new().unwrap();
    let peer = Raw::connect(&rig.path());
    peer.send(5, &super::raw::end(1));
    assert_eq!(peer.receive(), (5, Status::Invalid, 0));
    assert_eq!(peer.receive_or_end(), None);
    let peer = Raw::greeted(&rig.path());
    peer.send(6, &hello());
    assert_eq!(peer.receive(), (6, Status::Invalid, 0));
    // It goes on.
    peer.send(7, &super::raw::end(1));
    assert_eq!(peer.receive(), (7, Status::NotOpen, 0));
    peer.send_bytes(&[1, 2, 3]);
    assert_eq!(peer.receive_or_end(), None);
    rig.finish().unwrap();
}
