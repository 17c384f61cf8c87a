//! `coherd ctl save` and `--restore`.

use std::fs;
use std::sync::Arc;

use coherd::serve::Options;
use coherd_tests::blob_gpu::MemoryGpu;
use coherd_tests::frontend::Flavour;
use coherd_tests::rig::Rig;

use super::{DEVICE, RAM, as_gpu_sees, blob, gpu_fills, mapped, place, rig, seen};
use crate::control::Controlled;
use crate::{PAGE, pattern};

/// Runs `coherd ctl save`.
fn save(control: &Controlled) -> (Result<(), String>, String) {
    control.ctl(&["save", &control.path("state")])
}

#[test]
fn device_that_runs_is_saved_goes_on_and_is_restored_by_another_daemon() {
    let (_, mut rig) = rig();
    mapped(&mut rig, 1, 2, RAM);
    blob(&mut rig, 2, 1, DEVICE);
    gpu_fills(&mut rig, 2, 0, 6);
    let window = rig.frontend.window().unwrap();
    window.write(place(1) + PAGE, &pattern(2, PAGE)).unwrap();
    let mut control = Controlled::of(&rig.server);

    let (saved, out) = save(&control);

    assert_eq!(saved, Ok(()));
    assert!(out.contains("state: "), "{out}");
    mapped(&mut rig, 3, 1, RAM);
    rig.gpu.unref(3).unwrap();
    control.hang_up();
    assert!(!fs::exists(control.path("control")).unwrap());
    assert!(!fs::exists(control.path("state.partial")).unwrap());
    let mut moving = rig.save().unwrap();
    moving.state = fs::read(control.path("state")).unwrap();
    // The queues went on since the file was written, as they have no business with it here.
    let gpu = Arc::new(MemoryGpu::new());
    let mut rig = moving
        .restore(&gpu, Flavour::Crosvm, Options::default())
        .unwrap();
    assert_eq!(seen(&rig, 1, 2 * PAGE)[4096..], pattern(2, PAGE));
    assert_eq!(as_gpu_sees(&mut rig, 2, 0, 1), [6; 4096]);
    rig.finish().unwrap();
}

#[test]
fn refusal_names_the_guests_contexts_and_leaves_an_earlier_file_alone() {
    let mut rig = Rig::new(Flavour::Qemu).unwrap();
    rig.gpu
        .ctx_create(7, coherd_tests::renderer::CAPSET, "vkcube")
        .unwrap();
    let control = Controlled::of(&rig.server);
    let state = control.path("state");
    fs::write(&state, b"before").unwrap();

    let (saved, _) = save(&control);

    let error = saved.unwrap_err();
    assert!(error.contains("context 7 (vkcube)"), "{error}");
    assert_eq!(fs::read(&state).unwrap(), b"before");
    rig.gpu.ctx_destroy(7).unwrap();
    rig.finish().unwrap();
}

#[test]
fn nobody_listens_is_said_so() {
    let error = save(&Controlled::by_nobody()).0.unwrap_err();
    assert!(error.contains("--control-socket"), "{error}");
}
