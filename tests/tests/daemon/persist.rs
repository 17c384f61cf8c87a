//! One VMM after the other, and the end within a second.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use coherd::serve::Options;
use coherd_tests::driver::Gpu;
use coherd_tests::frontend::{Config, Deadline, Flavour, Frontend, Stage};
use coherd_tests::renderer::{CAPSET, Host, Recipe};
use coherd_tests::rig::Server;

use crate::stop::hold;
use crate::{CTX, PAGE, WITH_WINDOW, mappable, mappings, pattern, pending_fence, rig};

/// What is promised of SIGTERM.
const A_SECOND: Duration = Duration::from_secs(1);

struct Persistent {
    host: Host,
    server: Server,
    folder: tempfile::TempDir,
}

impl Persistent {
    fn new(options: Options) -> Self {
        let host = Host::new().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gpu.sock");
        let server = Server::persist(&path, options, host.factory()).unwrap();
        Self {
            host,
            server,
            folder,
        }
    }

    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("gpu.sock")
    }

    /// A VMM with a guest that has context [`CTX`].
    fn start(&self, flavour: Flavour) -> (Frontend, Gpu) {
        start(&self.path(), flavour)
    }

    fn finish(self) {
        let began = Instant::now();
        self.server.ask_to_quit().unwrap();
        self.server.finish().unwrap();
        assert!(began.elapsed() < A_SECOND);
        assert!(!self.folder.path().join("gpu.sock").exists());
        assert!(self.host.complaints().is_empty());
    }
}

fn start(path: &Path, flavour: Flavour) -> (Frontend, Gpu) {
    let frontend = Frontend::connect(path, Config::new(flavour)).unwrap();
    frontend.start().unwrap();
    let mut gpu = Gpu::new(&frontend).unwrap();
    gpu.ctx_create(CTX, CAPSET, "test").unwrap();
    (frontend, gpu)
}

#[test]
fn next_vmm_finds_the_device_as_the_first_one_did() {
    let options = Options {
        quotas: mappings(2),
        ..Options::default()
    };
    let daemon = Persistent::new(options);
    for flavour in [WITH_WINDOW, WITH_WINDOW].concat() {
        let (frontend, mut gpu) = daemon.start(flavour);
        assert_eq!(daemon.host.contexts(), [CTX]);
        assert!(daemon.host.blobs().is_empty());
        for id in [1, 2] {
            let blob = mappable(id, Recipe::SHM, PAGE);
            gpu.create_blob(&blob, &[]).unwrap();
            assert!(daemon.host.write(id, 0, &pattern(7, PAGE)));
            // As many as there may be at a time, where the one before had its own.
            gpu.map_blob(id, u64::from(id) * PAGE).unwrap();
            let window = frontend.window().unwrap();
            let bytes = window.read_vec(u64::from(id) * PAGE, 4096).unwrap();
            assert_eq!(bytes, pattern(7, PAGE));
        }
        assert_eq!(frontend.fault(), None);
    }
    daemon.finish();
}

#[test]
fn nothing_of_a_vmm_that_hung_up_is_left() {
    let daemon = Persistent::new(Options::default());
    let (frontend, mut gpu) = daemon.start(Flavour::Qemu);
    gpu.create_blob(&mappable(1, Recipe::SHM, PAGE), &[])
        .unwrap();
    gpu.map_blob(1, 0).unwrap();

    drop((gpu, frontend));

    // It is served once the device is as new, before it starts its own driver.
    let next = Frontend::connect(&daemon.path(), Config::new(Flavour::Crosvm)).unwrap();
    next.get_config(0, 4).unwrap();
    assert!(daemon.host.blobs().is_empty());
    assert!(daemon.host.contexts().is_empty());
    drop(next);
    daemon.finish();
}

#[test]
fn next_vmm_is_served_after_one_that_died_in_the_middle_of_a_map() {
    let daemon = Persistent::new(Options::default());
    for (flavour, stage) in [
        (Flavour::Qemu, Stage::FirstPiece),
        (Flavour::Crosvm, Stage::BeforeReply),
    ] {
        let (frontend, mut gpu) = daemon.start(flavour);
        gpu.create_blob(&mappable(1, Recipe::SHM, PAGE), &[])
            .unwrap();
        let gate = frontend.gate(stage);
        gpu.send_map_blob(1, 0).unwrap();
        assert!(gate.wait_held(frontend.deadline()));

        frontend.kill();

        let (frontend, mut gpu) = daemon.start(flavour);
        gpu.create_blob(&mappable(1, Recipe::SHM, PAGE), &[])
            .unwrap();
        gpu.map_blob(1, 0).unwrap();
        assert_eq!(frontend.fault(), None);
        gate.open();
    }
    daemon.finish();
}

#[test]
fn next_vmm_is_served_after_one_that_broke_the_protocol() {
    let daemon = Persistent::new(Options::default());
    let mut stream = UnixStream::connect(daemon.path()).unwrap();
    let unknown = [9999u32, 1, 0].map(u32::to_ne_bytes).concat();
    stream.write_all(&unknown).unwrap();
    let deadline = Deadline::after(Duration::from_secs(10));
    assert!(deadline.readable(&stream).unwrap());

    let (frontend, mut gpu) = daemon.start(Flavour::Crosvm);

    gpu.display_info().unwrap();
    drop((gpu, frontend));
    daemon.finish();
}

#[test]
fn daemon_quits_within_a_second_with_a_guest_that_never_stops_asking() {
    let mut rig = rig(Flavour::Qemu);
    for id in 1..200 {
        let blob = mappable(id, Recipe::SHM, PAGE);
        rig.gpu.create_blob(&blob, &[]).unwrap();
        rig.gpu.map_blob(id, u64::from(id) * PAGE).unwrap();
    }
    pending_fence(&mut rig);
    let mut gpu = rig.gpu;
    let (busy, is_busy) = std::sync::mpsc::channel();
    let guest = std::thread::spawn(move || {
        // Until the daemon, and with it every answer, is gone.
        while gpu.display_info().is_ok() {
            let _ = busy.send(());
        }
    });
    for _ in 0..100 {
        is_busy.recv_timeout(Duration::from_secs(10)).unwrap();
    }

    let began = Instant::now();
    rig.server.ask_to_quit().unwrap();
    rig.server.finish().unwrap();

    assert!(began.elapsed() < A_SECOND, "{:?}", began.elapsed());
    drop(rig.frontend);
    guest.join().unwrap();
}

#[test]
fn daemon_quits_within_a_second_though_the_renderer_hangs() {
    let mut rig = rig(Flavour::Qemu);
    hold(&mut rig.gpu);
    assert!(rig.host.wait_holding(rig.frontend.deadline()));

    let began = Instant::now();
    rig.server.ask_to_quit().unwrap();
    rig.server.finish().unwrap();

    assert!(began.elapsed() < A_SECOND, "{:?}", began.elapsed());
    rig.host.release();
}
