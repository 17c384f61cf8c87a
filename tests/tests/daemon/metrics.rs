//! `coherd ctl metrics`.

use std::time::Duration;

use coherd::device::hang::{HangAction, HangPolicy};
use coherd::serve::Options;
use coherd_tests::frontend::{Config, Flavour};
use coherd_tests::renderer::CAPSET;
use coherd_tests::rig::Rig;

use crate::control::Controlled;
use crate::{CTX, code, pending_fence, with_context};

/// The lines of a daemon's metrics.
fn metrics(of: &Controlled) -> Vec<String> {
    let (asked, text) = of.ctl(&["metrics"]);
    assert_eq!(asked, Ok(()));
    assert!(text.ends_with("# EOF\n"), "{text}");
    text.lines().map(str::to_owned).collect()
}

fn assert_has(lines: &[String], wanted: &[&str]) {
    for line in wanted {
        assert!(
            lines.iter().any(|other| other == line),
            "{line}: {lines:#?}"
        );
    }
}

#[test]
fn what_a_guest_does_and_has_is_counted() {
    let mut rig = with_context(Rig::new(Flavour::Qemu).unwrap());
    rig.gpu.ctx_create(2, CAPSET, "other").unwrap();
    rig.gpu.ctx_destroy(2).unwrap();
    assert_eq!(code(rig.gpu.submit_3d(9, &[0; 4])), 0x1204);
    let (fence, token) = pending_fence(&mut rig);
    // Answered after all of the fence's command is done.
    rig.gpu.display_info().unwrap();
    let control = Controlled::of(&rig.server);

    let busy = metrics(&control);

    let used = "coherd_quota_used{quota=\"contexts\"} 1";
    assert_has(
        &busy,
        &[
            used,
            "coherd_commands_total{command=\"ctx_create\"} 2",
            "coherd_commands_total{command=\"ctx_destroy\"} 1",
            "coherd_commands_total{command=\"submit_3d\"} 2",
            "coherd_refused_commands_total{code=\"invalid_context_id\"} 1",
            "coherd_quota_used{quota=\"fences\"} 1",
            "coherd_vmm_connections_total 1",
            "coherd_vmm_connected 1",
        ],
    );
    rig.host.signal(fence);
    rig.gpu.wait(token, rig.frontend.deadline()).unwrap();
    assert_has(
        &metrics(&control),
        &["coherd_quota_used{quota=\"fences\"} 0"],
    );
    rig.finish().unwrap();
    let after = metrics(&control);
    assert_has(&after, &["coherd_vmm_connected 0"]);
}

#[test]
fn hang_is_counted_by_the_name_of_its_context_and_so_is_its_end() {
    let options = Options {
        hangs: HangPolicy {
            timeout: Some(Duration::from_millis(50)),
            action: HangAction::KillContext,
        },
        ..Options::default()
    };
    let mut rig = with_context(Rig::with(Config::new(Flavour::Qemu), options).unwrap());
    let control = Controlled::of(&rig.server);
    let (_, token) = pending_fence(&mut rig);

    rig.gpu.wait(token, rig.frontend.deadline()).unwrap();

    assert_has(
        &metrics(&control),
        &[
            "coherd_hangs_total{context=\"test\"} 1",
            "coherd_lost_contexts_total{context=\"test\"} 1",
        ],
    );
    rig.gpu.ctx_destroy(CTX).unwrap();
    rig.finish().unwrap();
}

#[test]
fn nobody_listens_is_said_so() {
    let (asked, text) = Controlled::by_nobody().ctl(&["metrics"]);
    let error = asked.unwrap_err();
    assert!(error.contains("--control-socket"), "{error}");
    assert_eq!(text, "");
}
