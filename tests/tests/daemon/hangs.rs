//! Work that is never done, and what is done about it.

use std::time::Duration;

use coherd::device::hang::{HangAction, HangPolicy};
use coherd::serve::Options;
use coherd_protocol::gpu::header::Timeline;
use coherd_tests::frontend::{Config, Flavour};
use coherd_tests::renderer::CAPSET;
use coherd_tests::rig::{Rig, RigError};

use crate::{CTX, code, pending_fence, with_context};

const OTHER: u32 = 2;

/// A guest with two contexts whose work hangs when it takes longer than `timeout`.
fn rig(timeout: Option<Duration>, action: HangAction) -> Rig {
    let options = Options {
        hangs: HangPolicy { timeout, action },
        ..Options::default()
    };
    let mut rig = with_context(Rig::with(Config::new(Flavour::Qemu), options).unwrap());
    rig.gpu.ctx_create(OTHER, CAPSET, "other").unwrap();
    rig
}

const SOON: Option<Duration> = Some(Duration::from_millis(50));

#[test]
fn context_that_hangs_is_ended_and_nothing_else() {
    let mut rig = rig(SOON, HangAction::KillContext);
    let (fence, token) = pending_fence(&mut rig);

    let answer = rig.gpu.wait(token, rig.frontend.deadline()).unwrap();

    assert_eq!(answer.fence(), Some(fence));
    assert_eq!(rig.host.contexts(), [OTHER]);
    assert_eq!(code(rig.gpu.submit_3d(CTX, &[0; 4])), 0x1200);
    let on_ring = Timeline::Ring {
        ctx_id: OTHER,
        ring_idx: 1,
    };
    let fence = rig.gpu.next_fence(on_ring);
    let token = rig.gpu.submit_3d_fenced(OTHER, &[], fence).unwrap();
    assert!(rig.host.wait_fence(fence, rig.frontend.deadline()));
    rig.host.signal(fence);
    let answer = rig.gpu.wait(token, rig.frontend.deadline()).unwrap();
    assert_eq!((answer.code(), answer.fence()), (0x1100, Some(fence)));
    rig.gpu.ctx_destroy(CTX).unwrap();
    rig.gpu.ctx_create(CTX, CAPSET, "again").unwrap();
    rig.finish().unwrap();
}

#[test]
fn context_that_hangs_is_left_alone_if_that_is_wanted() {
    for (timeout, action) in [(SOON, HangAction::Log), (None, HangAction::KillVm)] {
        let mut rig = rig(timeout, action);
        let (fence, token) = pending_fence(&mut rig);
        // Far more than the time-out, which nothing observable follows.
        let deadline = std::time::Instant::now() + Duration::from_millis(300);
        while std::time::Instant::now() < deadline {
            rig.gpu.display_info().unwrap();
        }

        assert_eq!(rig.host.contexts(), [CTX, OTHER]);
        rig.host.signal(fence);
        let answer = rig.gpu.wait(token, rig.frontend.deadline()).unwrap();
        assert_eq!((answer.code(), answer.fence()), (0x1100, Some(fence)));
        rig.finish().unwrap();
    }
}

#[test]
fn everything_ends_if_that_is_wanted() {
    let mut rig = rig(SOON, HangAction::KillVm);
    pending_fence(&mut rig);
    let Err(RigError::Daemon(error)) = rig.server.finish() else {
        panic!("the daemon did not fail");
    };
    assert_eq!(
        coherd::explain::one_line(&error),
        "device thread failed: context 1 (test) hangs, and --on-hang is kill-vm"
    );
}
