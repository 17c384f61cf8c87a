//! What is not saved, and what is not loaded.

use std::sync::Arc;

use coherd::device::quota::{Quota, Quotas, Scope};
use coherd::serve::Options;
use coherd_tests::blob_gpu::MemoryGpu;
use coherd_tests::blob_rig::BlobRig;
use coherd_tests::frontend::{Flavour, FrontendError};
use coherd_tests::renderer::CAPSET;
use coherd_tests::rig::Rig;

use super::{DEVICE, INCOHERENT, RAM, blob, mapped, rig};
use crate::{PAGE, pattern};

fn is_refused<T>(result: &Result<T, FrontendError>) -> bool {
    matches!(result, Err(FrontendError::Refused { .. }))
}

/// A state with something of everything.
fn sample() -> Vec<u8> {
    let (_, mut rig) = rig();
    mapped(&mut rig, 1, 2, RAM);
    mapped(&mut rig, 2, 2, INCOHERENT);
    blob(&mut rig, 3, 1, DEVICE);
    let window = rig.frontend.window().unwrap();
    window.write(super::place(1), &pattern(1, PAGE)).unwrap();
    let moving = rig.save().unwrap();
    let state = moving.state.clone();
    moving.stay().unwrap().finish().unwrap();
    state
}

/// A stopped rig, which has to be as good as new when the test is over.
fn stopped() -> (Arc<MemoryGpu>, BlobRig) {
    let (gpu, rig) = rig();
    rig.frontend.stop().unwrap();
    (gpu, rig)
}

fn check_usable(gpu: &MemoryGpu, mut rig: BlobRig) {
    rig.frontend.reboot().unwrap();
    rig.gpu = coherd_tests::driver::Gpu::new(&rig.frontend).unwrap();
    let program = coherd_tests::driver::BlobProgram::new(&mut rig.gpu, 1, 1000);
    rig.program = program.unwrap();
    assert_eq!(gpu.blobs(), 0);
    mapped(&mut rig, 1, 1, RAM);
    rig.finish().unwrap();
}

#[test]
fn context_that_nobody_can_save_is_refused_and_goes_on() {
    let mut rig = Rig::new(Flavour::Crosvm).unwrap();
    rig.gpu.ctx_create(7, CAPSET, "vkcube").unwrap();
    let bases = rig.frontend.stop().unwrap();
    assert!(is_refused(&rig.frontend.save_state()));
    rig.frontend.resume(&bases).unwrap();
    rig.gpu.ctx_create(8, CAPSET, "other").unwrap();
    rig.gpu.ctx_destroy(7).unwrap();
    rig.gpu.ctx_destroy(8).unwrap();
    rig.frontend.stop().unwrap();
    rig.frontend.save_state().unwrap();
    rig.finish().unwrap();
}

#[test]
fn device_that_runs_is_neither_saved_nor_loaded() {
    let (gpu, rig) = rig();
    assert!(is_refused(&rig.frontend.save_state()));
    assert!(is_refused(&rig.frontend.load_state(&sample())));
    drop(gpu);
    rig.finish().unwrap();
}

#[test]
fn gpu_that_hangs_is_not_waited_for_without_end() {
    use coherd_protocol::blob_context::command::opcode;
    use coherd_tests::driver::blob_program::{fill, silent};
    let (gpu, mut rig) = rig();
    mapped(&mut rig, 1, 1, RAM);
    gpu.hold();
    let stream = silent(opcode::FILL, &fill(1, (0, PAGE), 0));
    let token = rig.program.submit(&mut rig.gpu, &stream).unwrap();
    assert!(gpu.wait_given(1, rig.frontend.timeout()));
    let bases = rig.frontend.stop().unwrap();
    assert!(is_refused(&rig.frontend.save_state()));
    rig.frontend.resume(&bases).unwrap();
    gpu.go_on();
    rig.program.wait(&mut rig.gpu, token).unwrap();
    rig.finish().unwrap();
}

#[test]
fn state_that_is_cut_or_changed_anywhere_is_refused_and_leaves_the_daemon_usable() {
    let state = sample();
    let (gpu, rig) = stopped();
    let step = state.len() / 61;
    for place in (0..state.len()).step_by(step) {
        assert!(is_refused(&rig.frontend.load_state(&state[..place])));
        let mut changed = state.clone();
        changed[place] ^= 0x10;
        assert!(is_refused(&rig.frontend.load_state(&changed)), "{place}");
    }
    let longer = [&state[..], &[0]].concat();
    assert!(is_refused(&rig.frontend.load_state(&longer)));
    check_usable(&gpu, rig);
}

#[test]
fn newer_state_and_no_state_are_refused() {
    let mut newer = sample();
    newer[8] = 2;
    let (gpu, rig) = stopped();
    assert!(is_refused(&rig.frontend.load_state(&newer)));
    assert!(is_refused(&rig.frontend.load_state(b"")));
    assert!(is_refused(&rig.frontend.load_state(&[0x7f; 5000])));
    check_usable(&gpu, rig);
}

#[test]
fn state_over_a_quota_is_refused() {
    let state = sample();
    for (quota, limit) in [
        (Quota::Resources, 2),
        (Quota::BlobBytes, 4 * PAGE),
        (Quota::Mappings, 1),
        (Quota::Attachments, 2),
    ] {
        let mut quotas = Quotas::default();
        quotas.set(Scope::Vm, quota, limit).unwrap();
        let options = Options {
            quotas,
            ..Options::default()
        };
        let gpu = Arc::new(MemoryGpu::new());
        let policies = coherd::mapping_type::Policies::all(coherd_blob::MismatchPolicy::Warn);
        let rig = BlobRig::with(&gpu, Flavour::Crosvm, policies, options).unwrap();
        rig.frontend.stop().unwrap();
        assert!(is_refused(&rig.frontend.load_state(&state)), "{quota:?}");
        assert_eq!(gpu.blobs(), 0, "{quota:?}");
        rig.finish().unwrap();
    }
}

#[test]
fn state_of_a_device_with_another_window_is_refused() {
    let state = sample();
    let options = Options {
        window_size: 1 << 30,
        ..Options::default()
    };
    let gpu = Arc::new(MemoryGpu::new());
    let policies = coherd::mapping_type::Policies::all(coherd_blob::MismatchPolicy::Warn);
    let rig = BlobRig::with(&gpu, Flavour::Qemu, policies, options).unwrap();
    rig.frontend.stop().unwrap();
    assert!(is_refused(&rig.frontend.load_state(&state)));
    rig.finish().unwrap();
}
