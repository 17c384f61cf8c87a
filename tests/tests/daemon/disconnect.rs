//! The daemon ends well whenever its VMM does.

use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use coherd::serve::{Options, ServeError};
use coherd_tests::frontend::{Config, Deadline, Flavour, Frontend, Gate, Stage};
use coherd_tests::interrupt::MOMENTS;
use coherd_tests::renderer::{Host, Recipe};
use coherd_tests::rig::{Rig, RigError, Server};

use crate::stop::hold;
use crate::{PAGE, WITH_WINDOW, mappable, pending_fence, rig};

fn server() -> (Server, UnixStream) {
    Server::pair(Options::default(), Host::new().unwrap().factory()).unwrap()
}

/// A vhost-user request without a payload.
fn request(code: u32) -> Vec<u8> {
    [code, 1, 0].map(u32::to_ne_bytes).concat()
}

const GET_FEATURES: u32 = 1;
const SET_OWNER: u32 = 3;

#[test]
fn hang_up_before_during_and_between_requests_is_a_good_end() {
    let owner = request(SET_OWNER);
    for bytes in [&[], &owner[..1], &owner[..11], &owner[..], &owner.repeat(3)] {
        let (server, mut stream) = server();
        stream.write_all(bytes).unwrap();
        drop(stream);
        server.finish().unwrap();
    }
}

#[test]
fn hang_up_with_an_answer_that_was_not_read_is_a_good_end() {
    let (server, mut stream) = server();
    stream.write_all(&request(GET_FEATURES)).unwrap();
    let deadline = Deadline::after(Duration::from_secs(10));
    assert!(deadline.readable(&stream).unwrap());
    drop(stream);
    server.finish().unwrap();
}

#[test]
fn hang_up_of_a_front_end_that_takes_no_answers_is_a_good_end() {
    let (server, mut stream) = server();
    stream.shutdown(Shutdown::Read).unwrap();
    stream.write_all(&request(GET_FEATURES)).unwrap();
    drop(stream);
    server.finish().unwrap();
}

#[test]
fn front_end_that_breaks_the_protocol_is_an_error() {
    let (server, mut stream) = server();
    stream.write_all(&request(9999)).unwrap();
    let result = server.finish();
    assert!(matches!(
        result,
        Err(RigError::Daemon(ServeError::Protocol(_)))
    ));
}

#[test]
fn hang_up_before_the_driver_started_is_a_good_end() {
    for flavour in [Flavour::Qemu, Flavour::Crosvm, Flavour::Libkrun] {
        let (server, stream) = server();
        let frontend = Frontend::from_stream(stream, Config::new(flavour)).unwrap();
        drop(frontend);
        server.finish().unwrap();
    }
}

/// A rig whose VMM is in the middle of a map.
fn in_a_map(flavour: Flavour, stage: Stage) -> (Rig, Gate) {
    let mut rig = rig(flavour);
    let blob = mappable(1, Recipe::SHM, PAGE);
    rig.gpu.create_blob(&blob, &[]).unwrap();
    let gate = rig.frontend.gate(stage);
    rig.gpu.send_map_blob(1, 0).unwrap();
    assert!(gate.wait_held(rig.frontend.deadline()));
    (rig, gate)
}

#[test]
fn vmm_that_dies_in_the_middle_of_a_map_is_a_good_end() {
    for (flavour, stage) in MOMENTS {
        let (rig, gate) = in_a_map(flavour, stage);

        rig.frontend.kill();

        rig.server.finish().unwrap();
        gate.open();
        assert!(rig.host.complaints().is_empty());
    }
}

#[test]
fn daemon_quits_though_its_vmm_is_in_the_middle_of_a_map() {
    for (flavour, stage) in MOMENTS {
        let (rig, gate) = in_a_map(flavour, stage);

        rig.server.ask_to_quit().unwrap();

        rig.server.finish().unwrap();
        gate.open();
    }
}

#[test]
fn daemon_quits_without_a_front_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gpu.sock");
    let factory = Host::new().unwrap().factory();
    let server = Server::listen(&path, Options::default(), factory).unwrap();
    server.ask_to_quit().unwrap();
    server.finish().unwrap();
    assert!(!path.exists());
}

#[test]
fn vmm_that_dies_with_fences_pending_is_a_good_end() {
    for flavour in WITH_WINDOW {
        let mut rig = rig(flavour);
        let (fence, _) = pending_fence(&mut rig);

        rig.frontend.kill();

        rig.server.finish().unwrap();
        // The renderer's threads may be later than the end.
        rig.host.signal(fence);
    }
}

#[test]
fn vmm_that_dies_while_the_renderer_works_is_a_good_end() {
    let mut rig = rig(Flavour::Qemu);
    hold(&mut rig.gpu);
    assert!(rig.host.wait_holding(rig.frontend.deadline()));
    rig.frontend.kill();
    rig.host.release();
    rig.server.finish().unwrap();
}

#[test]
fn status_is_logged_without_disturbing_the_guest() {
    let mut rig = rig(Flavour::Qemu);
    for _ in 0..10 {
        rig.server.ask_for_status().unwrap();
        rig.gpu.display_info().unwrap();
    }
    rig.finish().unwrap();
}

#[test]
fn renderer_that_does_not_start_is_an_error() {
    use coherd::renderer::RendererError;

    let fail = |_| Err(RendererError::Failed("no GPU".to_owned()));
    let result = Server::pair(Options::default(), Box::new(fail));
    assert!(matches!(
        result,
        Err(RigError::Daemon(ServeError::Renderer(_)))
    ));
}
