//! `coherd ctl save` and `--restore`.

use std::fs;
use std::sync::Arc;

use clap::Parser;
use coherd::cli::{Cli, Command};
use coherd::control::ControlSocket;
use coherd::serve::Options;
use coherd_tests::blob_gpu::MemoryGpu;
use coherd_tests::blob_rig::BlobRig;
use coherd_tests::frontend::Flavour;
use coherd_tests::rig::Rig;
use tempfile::TempDir;

use super::{DEVICE, RAM, as_gpu_sees, blob, gpu_fills, mapped, place, rig, seen};
use crate::{PAGE, pattern};

/// Runs `coherd ctl save`.
fn ctl_save(folder: &TempDir) -> (Result<(), String>, String) {
    let path = |name: &str| folder.path().join(name).display().to_string();
    let arguments = [
        "coherd",
        "ctl",
        "save",
        &path("state"),
        "--control-socket",
        &path("control"),
    ];
    let Some(Command::Ctl(ctl)) = Cli::try_parse_from(arguments).unwrap().command else {
        panic!("it is no ctl");
    };
    let mut out = Vec::new();
    let result = ctl.run(&mut out);
    let result = result.map_err(|error| coherd::explain::one_line(&error));
    (result, String::from_utf8(out).unwrap())
}

fn controlled(rig: &BlobRig) -> (TempDir, ControlSocket) {
    let folder = tempfile::tempdir().unwrap();
    let transfers = rig.server.control().transfers();
    let mut socket = ControlSocket::bind(&folder.path().join("control")).unwrap();
    socket.serve(transfers).unwrap();
    (folder, socket)
}

#[test]
fn device_that_runs_is_saved_goes_on_and_is_restored_by_another_daemon() {
    let (_, mut rig) = rig();
    mapped(&mut rig, 1, 2, RAM);
    blob(&mut rig, 2, 1, DEVICE);
    gpu_fills(&mut rig, 2, 0, 6);
    let window = rig.frontend.window().unwrap();
    window.write(place(1) + PAGE, &pattern(2, PAGE)).unwrap();
    let (folder, socket) = controlled(&rig);

    let (saved, out) = ctl_save(&folder);

    assert_eq!(saved, Ok(()));
    assert!(out.contains("state: "), "{out}");
    mapped(&mut rig, 3, 1, RAM);
    rig.gpu.unref(3).unwrap();
    drop(socket);
    assert!(!fs::exists(folder.path().join("control")).unwrap());
    assert!(!fs::exists(folder.path().join("state.partial")).unwrap());
    let mut moving = rig.save().unwrap();
    moving.state = fs::read(folder.path().join("state")).unwrap();
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
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    fs::write(&state, b"before").unwrap();
    let transfers = rig.server.control().transfers();
    let mut socket = ControlSocket::bind(&folder.path().join("control")).unwrap();
    socket.serve(transfers).unwrap();

    let (saved, _) = ctl_save(&folder);

    let error = saved.unwrap_err();
    assert!(error.contains("context 7 (vkcube)"), "{error}");
    assert_eq!(fs::read(&state).unwrap(), b"before");
    rig.gpu.ctx_destroy(7).unwrap();
    rig.finish().unwrap();
}

#[test]
fn nobody_listens_is_said_so() {
    let folder = tempfile::tempdir().unwrap();
    let error = ctl_save(&folder).0.unwrap_err();
    assert!(error.contains("--control-socket"), "{error}");
}
