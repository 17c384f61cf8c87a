//! Nothing of a connection outlives it. Alone in its process, because it counts.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;

use coherd_protocol::gpu::header::Timeline;
use coherd_tests::driver::Blob;
use coherd_tests::frontend::{Flavour, Stage};
use coherd_tests::renderer::{CAPSET, FileKind, Recipe};
use coherd_tests::rig::Rig;

const PAGE: u64 = 4096;

/// Open files, and mappings of memfds.
fn held() -> (usize, usize) {
    let fds = fs::read_dir("/proc/self/fd").unwrap().count();
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let memfds = maps.lines().filter(|line| line.contains("memfd:"));
    (fds, memfds.count())
}

/// A guest with blobs, mapped and not, and with fences pending.
fn busy(flavour: Flavour) -> Rig {
    let mut rig = Rig::new(flavour).unwrap();
    rig.gpu.ctx_create(1, CAPSET, "leaks").unwrap();
    let kinds = [FileKind::Shm, FileKind::Opaque, FileKind::Short];
    for (id, file) in (1..).zip(kinds) {
        let blob = Blob {
            ctx_id: 1,
            resource_id: id,
            mem: 2,
            flags: 1,
            blob_id: Recipe::new(file).blob_id(),
            size: 2 * PAGE,
        };
        rig.gpu.create_blob(&blob, &[]).unwrap();
        let mapped = rig.gpu.map_blob(id, u64::from(id) * 2 * PAGE);
        assert_eq!(mapped.is_ok(), file != FileKind::Short);
    }
    rig.gpu.unmap_blob(1).unwrap();
    let fence = rig.gpu.next_fence(Timeline::Ring {
        ctx_id: 1,
        ring_idx: 1,
    });
    rig.gpu.submit_3d_fenced(1, &[], fence).unwrap();
    assert!(rig.host.wait_fence(fence, rig.frontend.deadline()));
    rig
}

/// The VMM dies while it maps a blob.
fn die_in_a_map(mut rig: Rig, stage: Stage) {
    let gate = rig.frontend.gate(stage);
    rig.gpu.send_map_blob(1, 0).unwrap();
    assert!(gate.wait_held(rig.frontend.deadline()));
    rig.frontend.kill();
    rig.server.finish().unwrap();
    gate.open();
}

fn all_ends() {
    for flavour in [Flavour::Qemu, Flavour::Crosvm] {
        busy(flavour).finish().unwrap();

        let mut rig = busy(flavour);
        rig.reboot().unwrap();
        rig.gpu.display_info().unwrap();
        rig.finish().unwrap();

        let rig = busy(flavour);
        rig.frontend.stop().unwrap();
        rig.finish().unwrap();

        for stage in [Stage::Pending, Stage::FirstPiece, Stage::BeforeReply] {
            die_in_a_map(busy(flavour), stage);
        }
    }
}

#[test]
fn connections_leave_no_files_and_no_mappings_behind() {
    // The first time also opens what stays open.
    all_ends();
    let before = held();
    for _ in 0..3 {
        all_ends();
        assert_eq!(held(), before);
    }
}
