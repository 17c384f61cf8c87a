//! Contexts: inert, rendered and lost.

use coherd_protocol::gpu::header::Timeline;
use coherd_tests::frontend::Flavour;
use coherd_tests::renderer::{CAPSET, Operation, Recipe};

use crate::{CTX, PAGE, code, mappable, rig};

/// A context without a capset, as Linux makes one for its console.
const INERT: u32 = 7;

#[test]
fn context_without_a_capset_is_accepted_and_takes_resources() {
    let mut rig = rig(Flavour::Qemu);
    rig.gpu
        .create_blob(&mappable(1, Recipe::SHM, PAGE), &[])
        .unwrap();

    rig.gpu.ctx_create(INERT, 0, "").unwrap();
    rig.gpu.ctx_attach(INERT, 1).unwrap();
    rig.gpu.ctx_attach(INERT, 1).unwrap();
    rig.gpu.ctx_detach(INERT, 1).unwrap();
    rig.gpu.ctx_attach(INERT, 1).unwrap();
    rig.gpu.unref(1).unwrap();

    assert_eq!(rig.host.contexts(), [CTX]);
    rig.gpu.ctx_destroy(INERT).unwrap();
    rig.finish().unwrap();
}

#[test]
fn fence_without_commands_is_answered_at_once_by_a_context_without_a_capset() {
    let mut rig = rig(Flavour::Crosvm);
    rig.gpu.ctx_create(INERT, 0, "").unwrap();
    let on_ring = Timeline::Ring {
        ctx_id: INERT,
        ring_idx: 0,
    };
    for timeline in [on_ring, Timeline::Global] {
        let fence = rig.gpu.next_fence(timeline);
        let token = rig.gpu.submit_3d_fenced(INERT, &[], fence).unwrap();
        let answer = rig.gpu.wait(token, rig.frontend.deadline()).unwrap();
        assert_eq!((answer.code(), answer.fence()), (0x1100, Some(fence)));
    }
    let fill = Operation::Hold.to_bytes();
    assert_eq!(code(rig.gpu.submit_3d(INERT, &fill)), 0x1200);
    rig.finish().unwrap();
}

#[test]
fn context_is_made_and_destroyed_once() {
    let mut rig = rig(Flavour::Qemu);
    assert_eq!(code(rig.gpu.ctx_create(CTX, CAPSET, "twice")), 0x1204);
    assert_eq!(code(rig.gpu.ctx_create(0, CAPSET, "zero")), 0x1204);
    assert_eq!(code(rig.gpu.ctx_create(2, 9, "unknown capset")), 0x1205);
    assert_eq!(code(rig.gpu.ctx_destroy(2)), 0x1204);
    rig.gpu.ctx_destroy(CTX).unwrap();
    assert_eq!(code(rig.gpu.ctx_destroy(CTX)), 0x1204);
    assert!(rig.host.contexts().is_empty());
    rig.finish().unwrap();
}

#[test]
fn resources_are_attached_while_both_sides_exist() {
    let mut rig = rig(Flavour::Qemu);
    let blob = mappable(1, Recipe::SHM, PAGE);
    rig.gpu.create_blob(&blob, &[]).unwrap();
    rig.gpu.ctx_create(2, CAPSET, "second").unwrap();

    assert_eq!(code(rig.gpu.ctx_attach(CTX, 9)), 0x1203);
    assert_eq!(code(rig.gpu.ctx_attach(9, 1)), 0x1204);
    rig.gpu.ctx_attach(CTX, 1).unwrap();
    rig.gpu.ctx_attach(2, 1).unwrap();
    assert!(rig.host.is_attached(CTX, 1));
    rig.gpu.ctx_destroy(CTX).unwrap();
    assert!(!rig.host.is_attached(CTX, 1));
    rig.gpu.unref(1).unwrap();
    assert!(!rig.host.is_attached(2, 1));
    rig.finish().unwrap();
}

#[test]
fn lost_context_answers_errors_with_its_fences_and_the_others_go_on() {
    let mut rig = rig(Flavour::Qemu);
    rig.gpu.ctx_create(2, CAPSET, "other").unwrap();
    let on = |ctx_id| Timeline::Ring {
        ctx_id,
        ring_idx: 1,
    };
    let pending = rig.gpu.next_fence(on(CTX));
    let pending_token = rig.gpu.submit_3d_fenced(CTX, &[], pending).unwrap();
    assert!(rig.host.wait_fence(pending, rig.frontend.deadline()));

    let fail = Operation::Fail.to_bytes();
    let fence = rig.gpu.next_fence(on(CTX));
    let failed = rig.gpu.submit_3d_fenced(CTX, &fail, fence).unwrap();

    let deadline = rig.frontend.deadline();
    let answer = rig.gpu.wait(pending_token, deadline).unwrap();
    assert_eq!((answer.code(), answer.fence()), (0x1100, Some(pending)));
    let answer = rig.gpu.wait(failed, deadline).unwrap();
    assert_eq!((answer.code(), answer.fence()), (0x1200, Some(fence)));

    let other = rig.gpu.next_fence(on(2));
    let token = rig.gpu.submit_3d_fenced(2, &[], other).unwrap();
    assert!(rig.host.wait_fence(other, deadline));
    rig.host.signal(other);
    assert_eq!(rig.gpu.wait(token, deadline).unwrap().code(), 0x1100);
    rig.finish().unwrap();
}

#[test]
fn lost_context_refuses_everything_until_it_is_made_anew() {
    let mut rig = rig(Flavour::Crosvm);
    let blob = mappable(1, Recipe::SHM, PAGE);
    rig.gpu.create_blob(&blob, &[]).unwrap();
    rig.gpu.ctx_attach(CTX, 1).unwrap();
    let fail = Operation::Fail.to_bytes();
    assert_eq!(code(rig.gpu.submit_3d(CTX, &fail)), 0x1200);

    assert_eq!(code(rig.gpu.submit_3d(CTX, &[])), 0x1200);
    let second = mappable(2, Recipe::SHM, PAGE);
    assert_eq!(code(rig.gpu.create_blob(&second, &[])), 0x1200);
    // What it made before outlives it.
    rig.gpu.map_blob(1, 0).unwrap();
    rig.gpu.ctx_detach(CTX, 1).unwrap();
    rig.gpu.unref(1).unwrap();
    rig.gpu.ctx_destroy(CTX).unwrap();
    rig.gpu.ctx_create(CTX, CAPSET, "anew").unwrap();
    rig.gpu.create_blob(&blob, &[]).unwrap();
    rig.finish().unwrap();
}

#[test]
fn context_whose_worker_dies_is_lost_though_nothing_is_asked_of_it() {
    let mut rig = rig(Flavour::Qemu);
    rig.gpu.ctx_create(2, CAPSET, "other").unwrap();
    let blob = mappable(1, Recipe::SHM, PAGE);
    rig.gpu.create_blob(&blob, &[]).unwrap();
    rig.gpu.map_blob(1, 0).unwrap();
    let [doomed, other] = [CTX, 2].map(|ctx_id| {
        let timeline = Timeline::Ring {
            ctx_id,
            ring_idx: 1,
        };
        let fence = rig.gpu.next_fence(timeline);
        let token = rig.gpu.submit_3d_fenced(ctx_id, &[], fence).unwrap();
        assert!(rig.host.wait_fence(fence, rig.frontend.deadline()));
        (fence, token)
    });

    rig.host.lose(CTX).unwrap();

    let deadline = rig.frontend.deadline();
    let answer = rig.gpu.wait(doomed.1, deadline).unwrap();
    assert_eq!(answer.fence(), Some(doomed.0));
    assert_eq!(rig.gpu.try_take(other.1).unwrap(), None);
    rig.host.signal(other.0);
    rig.gpu.wait(other.1, deadline).unwrap();
    assert_eq!(code(rig.gpu.submit_3d(CTX, &[])), 0x1200);
    rig.frontend.window().unwrap().write(0, b"x").unwrap();
    rig.gpu.unref(1).unwrap();
    rig.gpu.ctx_destroy(CTX).unwrap();
    rig.gpu.ctx_create(CTX, CAPSET, "anew").unwrap();
    rig.finish().unwrap();
}

#[test]
fn reset_also_clears_lost_contexts() {
    let mut rig = rig(Flavour::Crosvm);
    rig.gpu.ctx_create(2, CAPSET, "other").unwrap();
    let fail = Operation::Fail.to_bytes();
    assert_eq!(code(rig.gpu.submit_3d(CTX, &fail)), 0x1200);
    rig.reboot().unwrap();
    rig.gpu.ctx_create(CTX, CAPSET, "anew").unwrap();
    rig.gpu.submit_3d(CTX, &[]).unwrap();
    assert_eq!(rig.host.contexts(), [CTX]);
    rig.finish().unwrap();
}
