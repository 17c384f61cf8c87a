//! Bytes: right inside brackets, stale without them.

use std::os::fd::AsFd;
use std::time::Instant;

use coherd_sync::{Access, Blob, Status};
use coherd_tests::sync_rig::SyncRig;

use super::raw::PATIENCE;
use super::{INCOHERENT, RAM, READ_WRITE, entry, gpu_fills, mapped, place};
use crate::{PAGE, pattern};

/// The first page of a blob as it lies in its file, outside of any bracket.
pub fn peek(blob: &Blob) -> Vec<u8> {
    let mut bytes = vec![0; 4096];
    let info = blob.info();
    let read = rustix::io::pread(blob.as_fd(), &mut bytes, info.data_offset);
    assert_eq!(read, Ok(4096));
    bytes
}

/// The first page of resource 1 as the GPU sees it, by way of resource 2.
fn as_gpu_sees(rig: &mut SyncRig) -> Vec<u8> {
    let (program, gpu) = (&mut rig.vm.program, &mut rig.vm.gpu);
    program.copy(gpu, (1, 0), (2, 0), PAGE).unwrap().unwrap();
    let window = rig.vm.frontend.window().unwrap();
    window.read_vec(place(2), 4096).unwrap()
}

fn incoherent() -> SyncRig {
    let mut rig = SyncRig::new().unwrap();
    mapped(&mut rig, 1, 2, INCOHERENT);
    mapped(&mut rig, 2, 2, RAM);
    rig
}

#[test]
fn peer_sees_what_the_gpu_wrote_inside_a_bracket_and_not_before() {
    let mut rig = incoherent();
    let peer = rig.peer("reader").unwrap();
    let blob = peer.open(entry(&peer, 1).blob, Access::READ).unwrap();
    let mapping = blob.map().unwrap();
    gpu_fills(&mut rig, 1, 7);
    assert_eq!(peek(&blob), [0; 4096]);

    let bytes = mapping.read(..4096).unwrap().to_vec();

    assert_eq!(bytes, [7; 4096]);
    drop((mapping, blob, peer));
    rig.finish().unwrap();
}

#[test]
fn gpu_sees_what_a_peer_wrote_after_end_and_not_before() {
    let mut rig = incoherent();
    let peer = rig.peer("writer").unwrap();
    let blob = peer.open(entry(&peer, 1).blob, READ_WRITE).unwrap();
    let mapping = blob.map().unwrap();
    let mut bytes = mapping.write(..4096).unwrap();
    bytes.copy_from(0, &pattern(5, PAGE)).unwrap();
    assert_eq!(as_gpu_sees(&mut rig), [0; 4096]);

    bytes.end().unwrap();

    assert_eq!(as_gpu_sees(&mut rig), pattern(5, PAGE));
    drop((mapping, blob, peer));
    rig.finish().unwrap();
}

#[test]
fn guest_and_peer_see_each_others_bytes() {
    let mut rig = incoherent();
    let peer = rig.peer("both").unwrap();
    let blob = peer.open(entry(&peer, 1).blob, READ_WRITE).unwrap();
    let mapping = blob.map().unwrap();
    let (program, gpu) = (&mut rig.vm.program, &mut rig.vm.gpu);
    program.start(gpu, 1, READ_WRITE).unwrap().unwrap();
    let window = rig.vm.frontend.window().unwrap();
    window.write(place(1), &pattern(1, PAGE)).unwrap();
    rig.vm
        .program
        .end(&mut rig.vm.gpu, 1, READ_WRITE)
        .unwrap()
        .unwrap();

    assert_eq!(mapping.read(..4096).unwrap().to_vec(), pattern(1, PAGE));
    let mut bytes = mapping.write(..4096).unwrap();
    bytes.copy_from(0, &pattern(2, PAGE)).unwrap();
    bytes.end().unwrap();

    let (program, gpu) = (&mut rig.vm.program, &mut rig.vm.gpu);
    program.start(gpu, 1, Access::READ).unwrap().unwrap();
    let window = rig.vm.frontend.window().unwrap();
    assert_eq!(window.read_vec(place(1), 4096).unwrap(), pattern(2, PAGE));
    drop((mapping, blob, peer));
    rig.finish().unwrap();
}

#[test]
fn destroyed_blob_stays_with_who_has_it_open_and_begins_nothing_new() {
    let mut rig = incoherent();
    let peer = rig.peer("late").unwrap();
    let id = entry(&peer, 1).blob;
    let blob = peer.open(id, READ_WRITE).unwrap();
    let mapping = blob.map().unwrap();
    let mut bytes = mapping.write(..4096).unwrap();
    rig.vm.gpu.unref(1).unwrap();

    bytes.copy_from(0, &[3; 4096]).unwrap();
    bytes.end().unwrap();

    let gone = mapping.read(..).unwrap_err();
    assert_eq!(gone.status(), Some(Status::Gone));
    let gone = peer.open(id, Access::READ).unwrap_err();
    assert_eq!(gone.status(), Some(Status::Gone));
    assert_eq!(rig.gpu.blobs(), 2);
    drop((mapping, blob));
    let deadline = Instant::now() + PATIENCE;
    while rig.gpu.blobs() > 1 {
        assert!(Instant::now() < deadline, "the server keeps the memory");
        std::thread::yield_now();
    }
    drop(peer);
    rig.finish().unwrap();
}
