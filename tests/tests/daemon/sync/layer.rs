//! Bytes of a guest and of a peer that only the GPU carries from one to the other: on a GPU made of
//! files, and on Vulkan with memory that is not coherent.

use std::sync::Arc;

use coherd::renderer::blob_context::gpu::Gpu;
use coherd::serve::Options;
use coherd::sync::AllowList;
use coherd_sync::Access;
use coherd_tests::blob_gpu::MemoryGpu;
use coherd_tests::sync_rig::SyncRig;

use super::access::peek;
use super::{INCOHERENT, READ_WRITE, entry, mapped, place};
use crate::blob_context::layer;
use crate::{PAGE, pattern};

/// The guest's resource, and the peer's.
const OF_GUEST: u32 = 1;
const OF_PEER: u32 = 2;

fn copy<G: Gpu>(rig: &mut SyncRig<G>, from: u32, to: u32) {
    let copied = rig
        .vm
        .program
        .copy(&mut rig.vm.gpu, (from, 0), (to, 0), PAGE);
    copied.unwrap().unwrap();
}

/// The first page of the guest's resource, written or read inside a bracket.
fn as_guest<G: Gpu>(rig: &mut SyncRig<G>, access: Access, written: Option<&[u8]>) -> Vec<u8> {
    let started = rig.vm.program.start(&mut rig.vm.gpu, OF_GUEST, access);
    started.unwrap().unwrap();
    let window = rig.vm.frontend.window().unwrap();
    if let Some(bytes) = written {
        window.write(place(OF_GUEST), bytes).unwrap();
    }
    let bytes = window.read_vec(place(OF_GUEST), 4096).unwrap();
    let ended = rig.vm.program.end(&mut rig.vm.gpu, OF_GUEST, access);
    ended.unwrap().unwrap();
    bytes
}

fn right_inside_brackets_and_stale_without<G: Gpu>(gpu: &Arc<G>) {
    let mut rig = SyncRig::on(gpu, AllowList::default(), Options::default()).unwrap();
    mapped(&mut rig, OF_GUEST, 1, INCOHERENT);
    mapped(&mut rig, OF_PEER, 1, INCOHERENT);
    let peer = rig.peer("both ways").unwrap();
    let blob = peer.open(entry(&peer, OF_PEER).blob, READ_WRITE).unwrap();
    let mapping = blob.map().unwrap();
    for round in 1..4 {
        let [from_guest, from_peer] = [2 * round, 2 * round + 1].map(|seed| pattern(seed, PAGE));
        let before = peek(&blob);
        as_guest(&mut rig, Access::WRITE, Some(&from_guest));
        copy(&mut rig, OF_GUEST, OF_PEER);
        assert_eq!(peek(&blob), before, "not stale");
        assert_eq!(mapping.read(..4096).unwrap().to_vec(), from_guest);

        let mut bytes = mapping.write(..4096).unwrap();
        bytes.copy_from(0, &from_peer).unwrap();
        copy(&mut rig, OF_PEER, OF_GUEST);
        let seen = as_guest(&mut rig, Access::READ, None);
        assert_eq!(seen, from_guest, "not stale");
        bytes.end().unwrap();
        copy(&mut rig, OF_PEER, OF_GUEST);
        assert_eq!(as_guest(&mut rig, Access::READ, None), from_peer);
    }
    drop((mapping, blob, peer));
    rig.finish().unwrap();
}

#[test]
fn guest_and_peer_reach_each_other_through_files_by_brackets_alone() {
    right_inside_brackets_and_stale_without(&Arc::new(MemoryGpu::new()));
}

#[test]
fn guest_and_peer_reach_each_other_through_vulkan_by_brackets_alone() {
    layer::of_path(
        "sync::layer::guest_and_peer_reach_each_other_through_vulkan_by_brackets_alone",
        |vulkan| right_inside_brackets_and_stale_without(&vulkan),
    );
}
