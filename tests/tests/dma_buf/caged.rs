//! The program itself, in its cage and behind its lists of system calls, with dma-bufs of a real
//! kernel.

use std::env;
use std::path::PathBuf;
use std::time::Duration;

use coherd_protocol::memory::{Access, MemoryProperties};
use coherd_sync::{Backing, Capabilities, Connection, Options};
use coherd_tests::conformance::{Connected, Renewal, Target};
use coherd_tests::dma_buf::{Call, Calls, SyncFlags, Udmabuf};
use coherd_tests::driver::Gpu;
use coherd_tests::driver::blob_program::{BlobProgram, Wish};
use coherd_tests::frontend::{Config, Flavour, Frontend};

use super::{PAGE, SIZE};

const RAM: MemoryProperties = MemoryProperties::HOST_VISIBLE
    .union(MemoryProperties::HOST_COHERENT)
    .union(MemoryProperties::HOST_CACHED);

const BLOB: u32 = 1;

/// An emulated machine takes long to start a Vulkan driver.
const PATIENCE: Duration = Duration::from_secs(120);

/// Bytes of its first page, which the peer writes; the GPU writes the second one.
const FIRST: usize = 4096;

/// coherd, which cargo puts beside the folder of this program.
fn coherd() -> PathBuf {
    let this = env::current_exe().unwrap();
    this.ancestors().nth(2).unwrap().join("coherd")
}

#[test]
fn peer_and_gpu_reach_each_other_through_a_daemon_in_its_cage() {
    if Udmabuf::find().unwrap().is_none() {
        return;
    }
    let Some(calls) = Calls::watch().unwrap() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let sync = folder.path().join("sync");
    let mut command = vec![coherd().into_os_string()];
    for argument in [
        "--renderer",
        "blob",
        "--socket-path",
        "{socket}",
        "--sync-socket",
    ] {
        command.push(argument.into());
    }
    command.push(sync.clone().into());
    let mut target = Target::command(command, Renewal::Never).unwrap();
    let Connected {
        stream,
        mut backend,
    } = target.connect().unwrap();
    let config = Config {
        timeout: PATIENCE,
        ..Config::new(Flavour::Qemu)
    };
    let frontend = Frontend::from_stream(stream, config)
        .unwrap_or_else(|error| panic!("{error}: {:?}", backend.last_words()));
    frontend.start().unwrap();
    let mut gpu = Gpu::new(&frontend).unwrap();
    let mut program = BlobProgram::new(&mut gpu, 1, 1000).unwrap();
    let wish = Wish {
        size: SIZE,
        required: RAM,
        preferred: MemoryProperties::empty(),
    };
    let object = program.allocate(&mut gpu, wish).unwrap().unwrap();
    program.create_blob(&mut gpu, BLOB, object).unwrap();
    gpu.map_blob(BLOB, 0).unwrap();
    let options = Options {
        capabilities: Capabilities::DESCRIBE | Capabilities::WRITE,
        answer_within: PATIENCE,
        ..Options::default()
    };
    let peer = Connection::connect(&sync, &options).unwrap();
    let entries = peer.list().unwrap();
    let entry = entries.iter().find(|entry| entry.resource_id == BLOB);
    let blob = entry.unwrap().blob;
    let blob = peer.open(blob, Access::READ | Access::WRITE).unwrap();
    assert_eq!(blob.info().memory.backing, Backing::DmaBuf);
    let mapping = blob.map().unwrap();

    let mut bytes = mapping.write(..).unwrap();
    bytes.copy_from(0, &[3; FIRST]).unwrap();
    bytes.end().unwrap();
    let mut seen = [0; 4];
    frontend.window().unwrap().read(0, &mut seen).unwrap();
    program
        .fill(&mut gpu, BLOB, (PAGE, PAGE), 0x0404_0404)
        .unwrap()
        .unwrap();
    let bytes = mapping.read(..).unwrap();
    let read = bytes.to_vec();
    bytes.end().unwrap();

    assert_eq!(seen, [3; 4]);
    assert_eq!(read[..FIRST], [3; FIRST]);
    assert_eq!(read[FIRST..2 * FIRST], [4; FIRST]);
    let made: Vec<Call> = calls.list().unwrap();
    for flags in [SyncFlags::WRITE, SyncFlags::READ] {
        for flags in [flags, flags | SyncFlags::END] {
            assert!(made.contains(&Call::Sync(flags)), "{flags:?}: {made:?}");
        }
    }
    drop((mapping, blob, peer, gpu, frontend, backend));
}
