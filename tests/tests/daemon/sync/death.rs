//! Peers that die, at each step.

use std::time::Instant;

use coherd_protocol::memory::Access;
use coherd_protocol::sync::Status;
use coherd_protocol::sync::wire::{List, Watch};
use coherd_sync::{Connection, HolderKind};
use coherd_tests::sync_rig::SyncRig;
use zerocopy::FromZeros;

use super::raw::{PATIENCE, Raw, begin, end, hello, open};
use super::{INCOHERENT, READ_WRITE, entry, gpu_hangs_at, mapped};
use crate::pattern;

/// Waits until nobody but the VM has anything of a blob.
fn until_left_alone(peer: &Connection, blob: u64) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let ledger = peer.describe(blob).unwrap();
        let of_peer = |kind| kind == HolderKind::Peer;
        if ledger.open == 0 && !ledger.holders.iter().any(|holder| of_peer(holder.kind)) {
            return;
        }
        assert!(Instant::now() < deadline, "{ledger:?}");
        std::thread::yield_now();
    }
}

/// How many files this process has open.
fn files() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn peer_that_dies_at_any_step_leaves_nothing_open() {
    let mut rig = SyncRig::new().unwrap();
    mapped(&mut rig, 1, 1, INCOHERENT);
    mapped(&mut rig, 2, 1, INCOHERENT);
    gpu_hangs_at(&mut rig, 2);
    let observer = rig.peer("observer").unwrap();
    let [blob, hung] = [1, 2].map(|id| entry(&observer, id).blob);
    type Step = Box<dyn Fn(&Raw)>;
    let ok = |peer: &Raw| assert_eq!(peer.receive().1, Status::Ok);
    let steps: [Step; 9] = [
        Box::new(|peer| peer.send(1, &hello())),
        Box::new(ok),
        Box::new(|peer| peer.send(2, &List::new_zeroed())),
        Box::new(move |peer| {
            ok(peer);
            let enable = 1.into();
            let reserved = 0.into();
            peer.send(3, &Watch { enable, reserved });
            ok(peer);
        }),
        Box::new(move |peer| {
            for blob in [blob, hung] {
                peer.send(4, &open(blob, READ_WRITE));
                ok(peer);
            }
        }),
        Box::new(move |peer| peer.send(5, &begin(hung, 1, READ_WRITE, 10_000))),
        Box::new(move |peer| {
            peer.send(6, &begin(blob, 2, READ_WRITE, 0));
            ok(peer);
        }),
        Box::new(move |peer| peer.send(7, &begin(blob, 3, Access::WRITE, 0))),
        Box::new(|peer| peer.send(8, &end(2))),
    ];
    for last in 0..=steps.len() {
        let peer = Raw::connect(&rig.path());
        steps.iter().take(last).for_each(|step| step(&peer));
        drop(peer);
        until_left_alone(&observer, blob);
        until_left_alone(&observer, hung);
    }
    rig.gpu.go_on();
    let (program, gpu) = (&mut rig.vm.program, &mut rig.vm.gpu);
    program.start(gpu, 1, READ_WRITE).unwrap().unwrap();
    program.end(gpu, 1, READ_WRITE).unwrap().unwrap();
    drop(observer);
    rig.finish().unwrap();
}

#[test]
fn what_a_dead_peer_wrote_reaches_the_gpu() {
    let mut rig = SyncRig::new().unwrap();
    mapped(&mut rig, 1, 1, INCOHERENT);
    let observer = rig.peer("observer").unwrap();
    let id = entry(&observer, 1).blob;
    let writer = rig.peer("writer").unwrap();
    let blob = writer.open(id, READ_WRITE).unwrap();
    let mapping = blob.map().unwrap();
    let mut bytes = mapping.write(..).unwrap();
    bytes.copy_from(0, &pattern(4, 4096)).unwrap();
    // As the kernel does at the end of a process.
    rustix::net::shutdown(&writer, rustix::net::Shutdown::Both).unwrap();

    until_left_alone(&observer, id);

    let calls = rig.gpu.calls();
    assert!(
        calls.contains(&coherd_tests::blob_gpu::Call::Flush),
        "{calls:?}"
    );
    drop(bytes);
    drop((mapping, blob, writer, observer));
    rig.finish().unwrap();
}

#[test]
fn a_thousand_peers_come_and_go() {
    let mut rig = SyncRig::new().unwrap();
    mapped(&mut rig, 1, 1, INCOHERENT);
    let observer = rig.peer("observer").unwrap();
    let blob = entry(&observer, 1).blob;
    let come_and_go = |number: u32| {
        let peer = Raw::connect(&rig.path());
        let last = number % 4;
        if last > 0 {
            peer.send(1, &hello());
        }
        if last > 1 {
            peer.send(2, &open(blob, READ_WRITE));
        }
        if last > 2 {
            peer.send(3, &begin(blob, 1, READ_WRITE, 0));
            for tag in 1..=3 {
                assert_eq!(peer.receive().0, tag);
            }
        }
    };
    (0..100).for_each(come_and_go);
    until_left_alone(&observer, blob);
    let before = files();
    (0..1000).for_each(come_and_go);
    until_left_alone(&observer, blob);
    // Other tests of this process have files too.
    let deadline = Instant::now() + PATIENCE;
    while files() > before + 400 {
        assert!(
            Instant::now() < deadline,
            "{} files, {before} before",
            files()
        );
        std::thread::yield_now();
    }
    drop(observer);
    rig.vm.gpu.display_info().unwrap();
    rig.finish().unwrap();
}
