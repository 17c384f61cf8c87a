//! Fences: answered when the work is done, in the order of their timeline.

use coherd_protocol::gpu::header::{Fence, Timeline};
use coherd_tests::driver::{Request, Token};
use coherd_tests::frontend::Flavour;
use coherd_tests::renderer::{BROKEN_RING, CAPSET, INSTANT_RING, NARROW_RING, Operation};
use coherd_tests::rig::Rig;

use crate::{CTX, rig};

fn ring(ctx_id: u32, ring_idx: u8) -> Timeline {
    Timeline::Ring { ctx_id, ring_idx }
}

/// Submits nothing with a fence, and waits until the renderer knows of it.
fn submit(rig: &mut Rig, timeline: Timeline) -> (Fence, Token) {
    let Timeline::Ring { ctx_id, .. } = timeline else {
        panic!("the renderer hears of rings only");
    };
    let fence = rig.gpu.next_fence(timeline);
    let token = rig.gpu.submit_3d_fenced(ctx_id, &[], fence).unwrap();
    assert!(rig.host.wait_fence(fence, rig.frontend.deadline()));
    (fence, token)
}

fn is_answered(rig: &mut Rig, token: Token) -> bool {
    // Whatever was to be answered before this is.
    rig.gpu.display_info().unwrap();
    rig.gpu.try_take(token).unwrap().is_some()
}

/// Waits for the answer, which must succeed and carry the fence, and returns its position.
fn position(rig: &mut Rig, (fence, token): (Fence, Token)) -> u64 {
    let answer = rig.gpu.wait(token, rig.frontend.deadline()).unwrap();
    assert_eq!((answer.code(), answer.fence()), (0x1100, Some(fence)));
    answer.position
}

#[test]
fn fence_is_answered_when_the_renderer_signals_it_and_not_before() {
    let mut rig = rig(Flavour::Qemu);
    let (fence, token) = submit(&mut rig, ring(CTX, 1));
    assert!(!is_answered(&mut rig, token));

    rig.host.signal(fence);

    position(&mut rig, (fence, token));
    rig.finish().unwrap();
}

#[test]
fn rings_complete_independently_of_each_other() {
    let mut rig = rig(Flavour::Crosvm);
    rig.gpu.ctx_create(2, CAPSET, "other").unwrap();
    let first = submit(&mut rig, ring(CTX, 1));
    let second = submit(&mut rig, ring(CTX, 2));
    let third = submit(&mut rig, ring(2, 1));

    rig.host.signal(third.0);
    let third = position(&mut rig, third);
    rig.host.signal(second.0);
    let second = position(&mut rig, second);
    assert!(!is_answered(&mut rig, first.1));
    rig.host.signal(first.0);
    let first = position(&mut rig, first);

    assert!(third < second && second < first);
    rig.finish().unwrap();
}

#[test]
fn signal_completes_the_earlier_fences_of_its_ring_in_order() {
    let mut rig = rig(Flavour::Qemu);
    let fences: Vec<_> = (0..5).map(|_| submit(&mut rig, ring(CTX, 0))).collect();

    rig.host.signal(fences[3].0);

    let positions: Vec<u64> = fences[..4]
        .iter()
        .map(|fence| position(&mut rig, *fence))
        .collect();
    assert!(positions.is_sorted());
    assert!(!is_answered(&mut rig, fences[4].1));
    rig.host.signal(fences[4].0);
    position(&mut rig, fences[4]);
    rig.finish().unwrap();
}

#[test]
fn global_fence_follows_the_rings_of_its_context() {
    let mut rig = rig(Flavour::Qemu);
    let pending = submit(&mut rig, ring(CTX, 1));
    let fence = rig.gpu.next_fence(Timeline::Global);
    let token = rig.gpu.submit_3d_fenced(CTX, &[], fence).unwrap();
    let later = rig.gpu.next_fence(Timeline::Global);
    let info = Request::display_info().fence(later);
    let later_token = rig.gpu.submit(&info).unwrap();
    assert!(!is_answered(&mut rig, token));
    assert!(!is_answered(&mut rig, later_token));

    rig.host.signal(pending.0);

    let ring = position(&mut rig, pending);
    let global = position(&mut rig, (fence, token));
    let answer = rig.gpu.wait(later_token, rig.frontend.deadline()).unwrap();
    assert_eq!(answer.fence(), Some(later));
    assert!(ring < global && global < answer.position);
    rig.finish().unwrap();
}

#[test]
fn error_carries_the_fence() {
    let mut rig = rig(Flavour::Qemu);
    for (ctx_id, timeline) in [
        (9, Timeline::Global),
        (9, ring(9, 1)),
        (CTX, ring(CTX, 64)),
        (CTX, ring(CTX, 255)),
    ] {
        let fence = rig.gpu.next_fence(timeline);
        let token = rig.gpu.submit_3d_fenced(ctx_id, &[1, 2, 3], fence).unwrap();
        let answer = rig.gpu.wait(token, rig.frontend.deadline()).unwrap();
        assert!(answer.code() >= 0x1200, "{timeline:?}");
        assert_eq!(answer.fence(), Some(fence));
    }
    let fence = rig.gpu.next_fence(Timeline::Global);
    let unknown = Request::new(0x4242).fence(fence);
    let answer = rig.gpu.call(&unknown, 24).unwrap();
    assert_eq!((answer.code(), answer.fence()), (0x1200, Some(fence)));
    rig.finish().unwrap();
}

#[test]
fn failed_command_waits_for_the_earlier_ones_of_its_ring() {
    let mut rig = rig(Flavour::Qemu);
    let first = submit(&mut rig, ring(CTX, 1));
    let fence = rig.gpu.next_fence(ring(CTX, 1));
    let odd = rig.gpu.submit_3d_fenced(CTX, &[0; 3], fence).unwrap();
    assert!(!is_answered(&mut rig, odd));

    rig.host.signal(first.0);

    let first = position(&mut rig, first);
    let answer = rig.gpu.wait(odd, rig.frontend.deadline()).unwrap();
    assert_eq!((answer.code(), answer.fence()), (0x1205, Some(fence)));
    assert!(first < answer.position);
    rig.finish().unwrap();
}

#[test]
fn fence_that_the_renderer_cannot_make_does_not_hang_the_guest() {
    let mut rig = rig(Flavour::Qemu);
    let fence = rig.gpu.next_fence(ring(CTX, BROKEN_RING));
    let token = rig.gpu.submit_3d_fenced(CTX, &[], fence).unwrap();
    position(&mut rig, (fence, token));
    rig.finish().unwrap();
}

#[test]
fn fence_that_the_renderer_cannot_make_waits_for_the_earlier_ones_of_its_ring() {
    let mut rig = rig(Flavour::Qemu);
    let first = submit(&mut rig, ring(CTX, NARROW_RING));
    let fence = rig.gpu.next_fence(ring(CTX, NARROW_RING));
    let token = rig.gpu.submit_3d_fenced(CTX, &[], fence).unwrap();
    assert!(!is_answered(&mut rig, token));
    assert!(!is_answered(&mut rig, first.1));

    rig.host.signal(first.0);

    let first = position(&mut rig, first);
    assert!(first < position(&mut rig, (fence, token)));
    rig.finish().unwrap();
}

#[test]
fn signal_that_comes_while_the_fence_is_made_is_not_lost() {
    let mut rig = rig(Flavour::Qemu);
    let fence = rig.gpu.next_fence(ring(CTX, INSTANT_RING));
    let token = rig.gpu.submit_3d_fenced(CTX, &[], fence).unwrap();
    position(&mut rig, (fence, token));
    rig.finish().unwrap();
}

#[test]
fn fence_ids_that_no_driver_chooses_come_back_and_keep_their_order() {
    let mut rig = rig(Flavour::Qemu);
    let ids = [7, u64::MAX, 0, 7, 7, 1, u64::MAX];
    let tokens = ids.map(|id| {
        let fence = Fence {
            id,
            timeline: ring(CTX, 1),
        };
        rig.gpu.submit_3d_fenced(CTX, &[], fence).unwrap()
    });
    rig.gpu.display_info().unwrap();
    let asked = rig.host.fences();
    assert_eq!(asked.len(), ids.len());

    for (asked, (token, id)) in asked.into_iter().zip(tokens.into_iter().zip(ids)) {
        assert!(!is_answered(&mut rig, token));
        rig.host.signal(asked);
        let answer = rig.gpu.wait(token, rig.frontend.deadline()).unwrap();
        assert_eq!(answer.fence().unwrap().id, id);
    }
    rig.finish().unwrap();
}

#[test]
fn successor_of_a_destroyed_context_may_count_its_fences_from_below() {
    let mut rig = rig(Flavour::Crosvm);
    for id in (1..=3u64).rev() {
        let fence = Fence {
            id: 1000 * id,
            timeline: ring(CTX, 0),
        };
        let token = rig.gpu.submit_3d_fenced(CTX, &[], fence).unwrap();
        assert!(!is_answered(&mut rig, token));
        let asked = *rig.host.fences().last().unwrap();

        rig.gpu.ctx_destroy(CTX).unwrap();

        position(&mut rig, (fence, token));
        rig.gpu.ctx_create(CTX, CAPSET, "again").unwrap();
        rig.host.signal(asked);
    }
    rig.finish().unwrap();
}

#[test]
fn fences_of_a_context_are_answered_before_its_destruction() {
    let mut rig = rig(Flavour::Qemu);
    let fences: Vec<_> = (0..6u8)
        .map(|index| submit(&mut rig, ring(CTX, index % 3)))
        .collect();
    let destroy = Request::ctx_destroy(CTX);

    let destroyed = rig.gpu.call(&destroy, 24).unwrap();

    for fence in fences {
        assert!(position(&mut rig, fence) < destroyed.position);
    }
    rig.finish().unwrap();
}

#[test]
fn destroying_a_context_completes_its_fences_and_no_others() {
    let mut rig = rig(Flavour::Crosvm);
    rig.gpu.ctx_create(2, CAPSET, "other").unwrap();
    let doomed = [1, 2].map(|index| submit(&mut rig, ring(CTX, index)));
    let other = submit(&mut rig, ring(2, 1));

    rig.gpu.ctx_destroy(CTX).unwrap();

    for fence in doomed {
        position(&mut rig, fence);
    }
    assert!(!is_answered(&mut rig, other.1));
    rig.host.signal(other.0);
    position(&mut rig, other);
    rig.finish().unwrap();
}

#[test]
fn late_signal_of_a_destroyed_context_completes_nothing_of_its_successor() {
    let mut rig = rig(Flavour::Qemu);
    let (old, _) = submit(&mut rig, ring(CTX, 1));
    rig.gpu.ctx_destroy(CTX).unwrap();
    rig.gpu.ctx_create(CTX, CAPSET, "again").unwrap();
    let new = submit(&mut rig, ring(CTX, 1));

    rig.host.signal(old);

    assert!(!is_answered(&mut rig, new.1));
    rig.host.signal(new.0);
    position(&mut rig, new);
    rig.finish().unwrap();
}

#[test]
fn work_is_done_when_its_fence_is_answered() {
    let mut rig = rig(Flavour::Qemu);
    let recipe = coherd_tests::renderer::Recipe::SHM;
    let blob = crate::mappable(1, recipe, crate::PAGE);
    rig.gpu.create_blob(&blob, &[]).unwrap();
    rig.gpu.map_blob(1, 0).unwrap();
    for byte in 1..20 {
        let fill = Operation::Fill {
            resource_id: 1,
            byte,
        };
        let fence = rig.gpu.next_fence(ring(CTX, 1));
        let token = rig
            .gpu
            .submit_3d_fenced(CTX, &fill.to_bytes(), fence)
            .unwrap();
        assert!(rig.host.wait_fence(fence, rig.frontend.deadline()));
        rig.host.signal(fence);
        position(&mut rig, (fence, token));
        let window = rig.frontend.window().unwrap();
        assert_eq!(window.read_vec(4095, 1).unwrap(), [byte]);
    }
    rig.finish().unwrap();
}
