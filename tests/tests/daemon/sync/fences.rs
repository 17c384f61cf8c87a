//! Fences of blobs that have none, and files that are for nothing.

use coherd_protocol::memory::Access;
use coherd_protocol::sync::wire::{ExportFence, ImportFence};
use coherd_protocol::sync::{Kind, Status};
use coherd_sync::{Capabilities, OpenFlags};
use coherd_tests::sync_rig::SyncRig;
use rustix::pipe::pipe;

use super::raw::{Raw, end, open};
use super::{RAM, READ_WRITE, entry, mapped};

/// The `detail` of a wrong number of files.
const FILES: u32 = u32::MAX;

fn export(blob: u64, access: Access) -> ExportFence {
    ExportFence {
        blob: blob.into(),
        access: access.bits().into(),
        reserved: 0.into(),
    }
}

fn import(blob: u64, access: Access) -> ImportFence {
    ImportFence {
        blob: blob.into(),
        access: access.bits().into(),
        reserved: 0.into(),
    }
}

/// Whether this kernel's dma-bufs have sync files.
fn granted(rig: &SyncRig) -> bool {
    let peer = rig.peer("asker").unwrap();
    let both = Capabilities::EXPORT_FENCE | Capabilities::IMPORT_FENCE;
    let granted = peer.capabilities() & both;
    assert!(granted.is_empty() || granted == both, "{granted:?}");
    assert_eq!(granted == both, coherd::coherence::kernel_has_fences());
    granted == both
}

#[test]
fn memfd_has_no_fences_and_says_so() {
    let mut rig = SyncRig::new().unwrap();
    mapped(&mut rig, 1, 1, RAM);
    let peer = rig.peer("fencer").unwrap();
    let blob = peer.open(entry(&peer, 1).blob, READ_WRITE).unwrap();
    assert!(!blob.info().flags.contains(OpenFlags::FENCES));
    let (reader, _writer) = pipe().unwrap();
    let refused = blob.export_fence(Access::READ).unwrap_err();
    assert_eq!(refused.status(), Some(Status::Unsupported));
    let refused = blob.import_fence(&reader, Access::WRITE).unwrap_err();
    assert_eq!(refused.status(), Some(Status::Unsupported));
    drop((blob, peer));
    rig.finish().unwrap();
}

#[test]
fn fences_are_of_blobs_that_are_open_for_as_much() {
    let mut rig = SyncRig::new().unwrap();
    if !granted(&rig) {
        println!("SKIPPED: what a fence needs: no dma-buf of this kernel has any");
        return rig.finish().unwrap();
    }
    mapped(&mut rig, 1, 1, RAM);
    let id = entry(&rig.peer("lister").unwrap(), 1).blob;
    let peer = Raw::greeted(&rig.path());
    peer.send(2, &export(id, Access::READ));
    assert_eq!(peer.receive(), (2, Status::NotOpen, 0));
    peer.send(3, &open(id, Access::READ));
    assert_eq!(peer.receive(), (3, Status::Ok, 0));
    peer.send(4, &export(id, Access::WRITE));
    assert_eq!(peer.receive(), (4, Status::Denied, 0));
    let (reader, _writer) = pipe().unwrap();
    peer.send_with(5, &import(id, Access::WRITE), &[&reader]);
    assert_eq!(peer.receive(), (5, Status::Denied, 0));
    drop(peer);
    rig.finish().unwrap();
}

#[test]
fn peer_that_may_not_write_imports_no_fence() {
    let own = format!("uid={}:ro", rustix::process::geteuid().as_raw());
    let allowed = coherd::sync::AllowList::new(vec![own.parse().unwrap()]);
    let mut rig = SyncRig::with(allowed, coherd::serve::Options::default()).unwrap();
    mapped(&mut rig, 1, 1, RAM);
    let peer = rig.peer("reader").unwrap();
    assert!(!peer.capabilities().contains(Capabilities::IMPORT_FENCE));
    let blob = peer.open(entry(&peer, 1).blob, Access::READ).unwrap();
    let (reader, _writer) = pipe().unwrap();
    let refused = blob.import_fence(&reader, Access::READ).unwrap_err();
    assert_eq!(refused.status(), Some(Status::Unsupported));
    drop((blob, peer));
    rig.finish().unwrap();
}

#[test]
fn files_that_are_for_nothing_are_refused_and_not_kept() {
    let rig = SyncRig::new().unwrap();
    let peer = Raw::greeted(&rig.path());
    let (reader, writer) = pipe().unwrap();
    peer.send_with(2, &end(1), &[&reader]);
    assert_eq!(peer.receive(), (2, Status::Invalid, FILES));
    peer.send_with(3, &import(1, Access::READ), &[&reader, &reader]);
    let (tag, status, _) = peer.receive();
    // Where no files are taken it cannot be known how many there were.
    assert!(tag == 3 && status != Status::Ok, "{status:?}");
    peer.send_with(4, &import(1, Access::READ), &[]);
    assert_eq!(peer.receive(), (4, Status::Invalid, FILES));
    peer.send_kind(5, 99, &[&reader]);
    assert_eq!(peer.receive(), (5, Status::UnknownRequest, 0));
    drop(reader);
    // Nobody has its other end any more.
    assert_eq!(
        rustix::io::write(&writer, b"x"),
        Err(rustix::io::Errno::PIPE)
    );
    peer.send(6, &end(1));
    assert_eq!(peer.receive(), (6, Status::NotOpen, 0));
    assert!(Kind::from_wire(99).is_none());
    drop(peer);
    rig.finish().unwrap();
}
