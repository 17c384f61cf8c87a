//! Peers that stay while one VMM after the other comes and goes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use coherd::coherence::Registry;
use coherd::serve::Options;
use coherd::sync::{AllowList, SyncServer, SyncSocket};
use coherd_protocol::memory::Access;
use coherd_sync::{Capabilities, Connection, Event, Status, Watch};
use coherd_tests::blob_gpu::{Call, MemoryGpu};
use coherd_tests::blob_rig::{CTX, REPLIES, factory};
use coherd_tests::driver::blob_program::Wish;
use coherd_tests::driver::{BlobProgram, Gpu};
use coherd_tests::frontend::{Config, Flavour, Frontend};
use coherd_tests::rig::Server;
use tempfile::TempDir;

use super::raw::{PATIENCE, Raw, begin, open};
use super::{INCOHERENT, READ_WRITE, entry, place};
use crate::{PAGE, pattern};

/// coherd with a socket for peers, that serves one VMM after the other.
struct Persistent {
    memory: MemoryGpu,
    server: Server,
    peers: SyncServer,
    folder: TempDir,
}

/// A VMM, and a program in its guest.
struct Vm {
    frontend: Frontend,
    gpu: Gpu,
    program: BlobProgram,
}

impl Persistent {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Arc::new(Registry::new().unwrap());
        let socket = SyncSocket::bind(&folder.path().join("sync")).unwrap();
        let peers = SyncServer::start(socket, AllowList::default(), Arc::clone(&blobs)).unwrap();
        let options = Options {
            blobs: Some(blobs),
            ..Options::default()
        };
        let memory = MemoryGpu::new();
        let renderer = factory(&Arc::new(memory.clone()), &options.mapping_types);
        let server = Server::persist(&folder.path().join("gpu"), options, renderer).unwrap();
        Self {
            memory,
            server,
            peers,
            folder,
        }
    }

    fn vm(&self, flavour: Flavour) -> Vm {
        let path = self.folder.path().join("gpu");
        let frontend = Frontend::connect(&path, Config::new(flavour)).unwrap();
        frontend.start().unwrap();
        let mut gpu = Gpu::new(&frontend).unwrap();
        let program = BlobProgram::new(&mut gpu, CTX, REPLIES).unwrap();
        Vm {
            frontend,
            gpu,
            program,
        }
    }

    fn peer(&self) -> Connection {
        let options = coherd_sync::Options {
            name: "stays".to_owned(),
            capabilities: Capabilities::all(),
            answer_within: Duration::from_secs(60),
        };
        Connection::connect(self.folder.path().join("sync"), &options).unwrap()
    }

    fn finish(self) {
        self.server.ask_to_quit().unwrap();
        self.server.finish().unwrap();
        drop(self.peers);
    }
}

impl Vm {
    /// Resource 1, a page of memory with these bytes in it that the guest wrote.
    fn blob_with(&mut self, bytes: &[u8]) {
        let wish = Wish {
            size: PAGE,
            required: INCOHERENT,
            ..Wish::default()
        };
        let (program, gpu) = (&mut self.program, &mut self.gpu);
        let object = program.allocate(gpu, wish).unwrap().unwrap();
        program.create_blob(gpu, 1, object).unwrap();
        gpu.map_blob(1, place(1)).unwrap();
        program.start(gpu, 1, Access::WRITE).unwrap().unwrap();
        let window = self.frontend.window().unwrap();
        window.write(place(1), bytes).unwrap();
        program.end(gpu, 1, Access::WRITE).unwrap().unwrap();
    }
}

/// Waits for an event.
fn until(watch: &Watch, mut wanted: impl FnMut(&Event) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let event = watch.next(PATIENCE).unwrap().expect("an event");
        if wanted(&event) {
            return;
        }
        assert!(Instant::now() < deadline, "{event:?}");
    }
}

#[test]
fn peer_that_stays_loses_the_blobs_of_a_vmm_that_hangs_up_and_sees_those_of_the_next() {
    let daemon = Persistent::new();
    let peer = daemon.peer();
    let watch = peer.watch().unwrap();
    let mut before = 0;
    for (round, flavour) in (1..).zip([Flavour::Qemu, Flavour::Crosvm, Flavour::Qemu]) {
        let mut vm = daemon.vm(flavour);
        vm.blob_with(&pattern(round, PAGE));
        until(
            &watch,
            |event| matches!(event, Event::Created(blob) if blob.resource_id == 1),
        );
        let id = entry(&peer, 1).blob;
        assert!(id > before, "{id} after {before}");
        before = id;
        let blob = peer.open(id, READ_WRITE).unwrap();
        let mapping = blob.map().unwrap();
        assert_eq!(mapping.read(..).unwrap().to_vec(), pattern(round, PAGE));
        let mut bytes = mapping.write(..).unwrap();
        bytes.copy_from(0, &pattern(99, PAGE)).unwrap();

        let mut there: Vec<u64> = peer.list().unwrap().iter().map(|it| it.blob).collect();
        assert_eq!(vm.frontend.fault(), None);
        drop(vm);

        until(&watch, |event| {
            there.retain(|blob| *event != Event::Destroyed(*blob));
            there.is_empty()
        });
        assert_eq!(peer.list().unwrap(), []);
        let gone = mapping.read(..).unwrap_err();
        assert_eq!(gone.status(), Some(Status::Gone));
        // What is open stays open, and ends as always.
        let flushes = |memory: &MemoryGpu| {
            let calls = memory.calls();
            calls.iter().filter(|call| **call == Call::Flush).count()
        };
        let flushed = flushes(&daemon.memory);
        bytes.end().unwrap();
        assert_eq!(flushes(&daemon.memory), flushed + 1);
        drop((mapping, blob));
        until_empty(&daemon.memory);
    }
    drop((watch, peer));
    daemon.finish();
}

#[test]
fn next_vmm_is_served_while_a_peer_still_has_the_blob_and_the_bracket_of_the_one_before() {
    let daemon = Persistent::new();
    let mut vm = daemon.vm(Flavour::Qemu);
    vm.blob_with(&pattern(1, PAGE));
    let observer = daemon.peer();
    let id = entry(&observer, 1).blob;
    let holder = Raw::greeted(&daemon.folder.path().join("sync"));
    holder.send(2, &open(id, READ_WRITE));
    assert_eq!(holder.receive().1, Status::Ok);
    holder.send(3, &begin(id, 1, READ_WRITE, 0));
    assert_eq!(holder.receive().1, Status::Ok);

    drop(vm);
    let mut vm = daemon.vm(Flavour::Crosvm);
    vm.blob_with(&pattern(2, PAGE));

    let blob = observer
        .open(entry(&observer, 1).blob, Access::READ)
        .unwrap();
    let mapping = blob.map().unwrap();
    assert_eq!(mapping.read(..).unwrap().to_vec(), pattern(2, PAGE));
    assert_eq!(daemon.memory.blobs(), 2);
    drop(holder);
    drop((mapping, blob));
    drop(vm);
    until_empty(&daemon.memory);
    drop(observer);
    daemon.finish();
}

/// Waits until there is no memory left of any guest.
fn until_empty(memory: &MemoryGpu) {
    let deadline = Instant::now() + PATIENCE;
    while memory.blobs() > 0 {
        assert!(Instant::now() < deadline, "{} are left", memory.blobs());
        std::thread::yield_now();
    }
}
