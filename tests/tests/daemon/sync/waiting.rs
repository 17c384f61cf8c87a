//! A GPU that is not done, and what it costs whom.

use std::time::Duration;

use coherd_sync::{Access, Status};
use coherd_tests::sync_rig::SyncRig;
use zerocopy::IntoBytes;

use super::raw::{Raw, begin, end, open};
use super::{INCOHERENT, READ_WRITE, entry, gpu_hangs_at, mapped};

/// A rig whose GPU hangs at resource 1 and has nothing to do with resource 2.
fn hung() -> SyncRig {
    let mut rig = SyncRig::new().unwrap();
    mapped(&mut rig, 1, 1, INCOHERENT);
    mapped(&mut rig, 2, 1, INCOHERENT);
    gpu_hangs_at(&mut rig, 1);
    rig
}

/// Lets the GPU go on, and ends.
fn finish(rig: SyncRig) {
    rig.gpu.go_on();
    rig.finish().unwrap();
}

#[test]
fn begin_is_answered_in_time_and_other_blobs_and_the_guest_do_not_wait() {
    let mut rig = hung();
    let peer = rig.peer("patient").unwrap();
    let [one, two] = [1, 2].map(|id| peer.open(entry(&peer, id).blob, READ_WRITE).unwrap());
    let (one, two) = (one.map().unwrap(), two.map().unwrap());
    let late = one.read_within(.., Duration::from_millis(50)).unwrap_err();
    assert!(late.is_timed_out(), "{late}");
    two.read_write(..).unwrap().end().unwrap();
    rig.vm.gpu.display_info().unwrap();
    rig.gpu.go_on();
    assert_eq!(one.read(..1).unwrap().to_vec(), [9]);
    drop((one, two, peer));
    finish(rig);
}

#[test]
fn end_cancels_a_begin_that_waits_and_its_id_is_free() {
    let rig = hung();
    let blob = entry(&rig.peer("lister").unwrap(), 1).blob;
    let peer = Raw::greeted(&rig.path());
    peer.send(2, &open(blob, READ_WRITE));
    assert_eq!(peer.receive(), (2, Status::Ok, 0));
    for tag in [3, 5] {
        peer.send(tag, &begin(blob, 1, Access::READ, 10_000));
        peer.send(tag + 1, &end(1));
        assert_eq!(peer.receive(), (tag, Status::Cancelled, 0));
        assert_eq!(peer.receive(), (tag + 1, Status::Ok, 0));
    }
    peer.send(9, &end(1));
    assert_eq!(peer.receive(), (9, Status::NotOpen, 0));
    drop(peer);
    finish(rig);
}

#[test]
fn begin_that_waits_holds_up_no_request_behind_it_and_close_cancels_it() {
    use coherd_protocol::sync::wire::Close;
    let rig = hung();
    let lister = rig.peer("lister").unwrap();
    let [one, two] = [1, 2].map(|id| entry(&lister, id).blob);
    let peer = Raw::greeted(&rig.path());
    for blob in [one, two] {
        peer.send(2, &open(blob, READ_WRITE));
        assert_eq!(peer.receive(), (2, Status::Ok, 0));
    }
    peer.send(3, &begin(one, 1, Access::WRITE, 10_000));
    peer.send(4, &begin(one, 1, Access::WRITE, 10_000));
    assert_eq!(peer.receive(), (4, Status::InUse, 0));
    peer.send(5, &begin(two, 2, Access::WRITE, 10_000));
    assert_eq!(peer.receive(), (5, Status::Ok, 0));
    peer.send(6, &end(2));
    assert_eq!(peer.receive(), (6, Status::Ok, 0));
    peer.send(7, &Close { blob: one.into() });
    assert_eq!(peer.receive(), (3, Status::Cancelled, 0));
    assert_eq!(peer.receive(), (7, Status::Ok, 0));
    drop(peer);
    finish(rig);
}

#[test]
fn peers_that_wait_for_a_hung_gpu_do_not_keep_others_from_beginning() {
    let rig = hung();
    let lister = rig.peer("lister").unwrap();
    let [one, two] = [1, 2].map(|id| entry(&lister, id).blob);
    let waiters: Vec<Raw> = (0..8).map(|_| Raw::greeted(&rig.path())).collect();
    for peer in &waiters {
        peer.send(2, &open(one, Access::READ));
        assert_eq!(peer.receive(), (2, Status::Ok, 0));
        for bracket in 1..=64 {
            peer.send(
                100 + bracket,
                &begin(one, bracket.into(), Access::READ, 10_000),
            );
        }
        peer.send(3, &begin(one, 65, Access::READ, 10_000));
        assert_eq!(peer.receive(), (3, Status::OverLimit, 64));
    }

    let other = lister.open(two, Access::READ).unwrap();
    let mapping = other.map().unwrap();
    mapping.read(..).unwrap().end().unwrap();

    rig.gpu.go_on();
    let mut answered: Vec<(u32, Status)> = (0..64)
        .map(|_| waiters[0].receive())
        .map(|(tag, status, _)| (tag, status))
        .collect();
    answered.sort_by_key(|(tag, _)| *tag);
    let expected: Vec<_> = (101..=164).map(|tag| (tag, Status::Ok)).collect();
    assert_eq!(answered, expected);
    drop((mapping, other, lister, waiters));
    finish(rig);
}

#[test]
fn peer_that_leaves_its_replies_unread_is_not_read_and_loses_none() {
    let mut rig = SyncRig::new().unwrap();
    mapped(&mut rig, 1, 1, INCOHERENT);
    let peer = Raw::greeted(&rig.path());
    rustix::io::ioctl_fionbio(&peer.0, true).unwrap();
    let mut sent = 0;
    // Until nobody reads them any more.
    loop {
        let bytes = [
            coherd_protocol::sync::Header::request(coherd_protocol::sync::Kind::End, sent + 1)
                .as_bytes(),
            end(1).as_bytes(),
        ]
        .concat();
        match rustix::net::send(&peer.0, &bytes, rustix::net::SendFlags::NOSIGNAL) {
            Ok(_) => sent += 1,
            Err(rustix::io::Errno::AGAIN) if peer.is_stuck() => break,
            Err(rustix::io::Errno::AGAIN) => {}
            Err(error) => panic!("{error}"),
        }
        assert!(sent < 1_000_000);
    }
    rig.vm.gpu.display_info().unwrap();
    let other = rig.peer("other").unwrap();
    assert!(!other.list().unwrap().is_empty());
    rustix::io::ioctl_fionbio(&peer.0, false).unwrap();
    for tag in 1..=sent {
        assert_eq!(peer.receive(), (tag, Status::NotOpen, 0));
    }
    drop((peer, other));
    rig.finish().unwrap();
}
