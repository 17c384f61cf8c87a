//! No byte of a mapped blob passes through the daemon, which is a process of its own here.
//!
//! The daemon counts what it copies. What it does not count would show too: a page that a process
//! touches is in its resident set.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use coherd::renderer::blob_context::BlobContexts;
use coherd::renderer::blob_context::gpu::Gpu as _;
use coherd::serve::Options;
use coherd_protocol::blob_context::reply::BackingKind;
use coherd_protocol::memory::{Access, MemoryProperties};
use coherd_tests::blob_rig::vulkan;
use coherd_tests::driver::blob_program::Wish;
use coherd_tests::driver::{BlobProgram, Gpu};
use coherd_tests::frontend::{Config, Flavour, Frontend};
use coherd_tests::rig::Server;

/// Names the socket of the daemon, in its process.
const SOCKET: &str = "COHERD_ZERO_COPY_SOCKET";

/// Bytes of the blob.
const SIZE: u64 = 64 << 20;
/// Bytes of rings, commands and replies that the daemon may touch meanwhile.
const BESIDES: u64 = 1 << 20;

const CTX: u32 = 1;
const REPLIES: u32 = 1000;
const BLOB: u32 = 1;

#[test]
fn daemon() {
    let Some(path) = std::env::var_os(SOCKET) else {
        return;
    };
    let vulkan = vulkan().unwrap();
    let options = Options::default();
    let types = Arc::clone(&options.mapping_types);
    let gpu = Arc::clone(&vulkan);
    let factory = Box::new(|fences| Ok(Box::new(BlobContexts::new(gpu, types, fences)) as Box<_>));
    let server = Server::listen(Path::new(&path), options, factory).unwrap();
    println!("\nready");
    server.wait().unwrap();
    println!("\ncopied {}", vulkan.bytes_copied());
}

/// The next line of the daemon that begins with `word`, without that.
fn line(output: &mut impl BufRead, word: &str) -> String {
    let mut lines = output.lines().map(Result::unwrap);
    let line = lines.find_map(|line| line.strip_prefix(word).map(|rest| rest.trim().to_owned()));
    line.unwrap()
}

/// Bytes of shared memory that are mapped into a process and were touched by it.
fn resident(child: &Child) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssShmem:"));
    let kib = line.unwrap().trim().strip_suffix(" kB").unwrap();
    kib.parse::<u64>().unwrap() * 1024
}

#[test]
fn no_byte_of_a_mapped_blob_passes_through_the_daemon() {
    if vulkan().is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["daemon", "--exact", "--nocapture"])
        .env(SOCKET, &path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    line(&mut output, "ready");
    let stream = UnixStream::connect(&path).unwrap();
    let frontend = Frontend::from_stream(stream, Config::new(Flavour::Qemu)).unwrap();
    frontend.start().unwrap();
    let mut gpu = Gpu::new(&frontend).unwrap();
    let mut program = BlobProgram::new(&mut gpu, CTX, REPLIES).unwrap();
    let wish = Wish {
        size: SIZE,
        required: MemoryProperties::HOST_VISIBLE,
        ..Wish::default()
    };
    let object = program.allocate(&mut gpu, wish).unwrap().unwrap();
    program.create_blob(&mut gpu, BLOB, object).unwrap();
    let before = resident(&child);

    gpu.map_blob(BLOB, 0).unwrap();
    let window = frontend.window().unwrap();
    let bytes = vec![0x5a; 1 << 20];
    program
        .start(&mut gpu, BLOB, Access::WRITE)
        .unwrap()
        .unwrap();
    for offset in (0..SIZE).step_by(bytes.len()) {
        window.write(offset, &bytes).unwrap();
    }
    program.end(&mut gpu, BLOB, Access::WRITE).unwrap().unwrap();
    program
        .start(&mut gpu, BLOB, Access::READ)
        .unwrap()
        .unwrap();
    for offset in (0..SIZE).step_by(bytes.len()) {
        assert!(window.read_vec(offset, bytes.len()).unwrap() == bytes);
    }
    program.end(&mut gpu, BLOB, Access::READ).unwrap().unwrap();
    gpu.unmap_blob(BLOB).unwrap();
    gpu.map_blob(BLOB, SIZE).unwrap();

    let touched = resident(&child).saturating_sub(before);
    assert!(touched <= BESIDES, "{touched} bytes");
    // A GPU that is a CPU in the daemon touches them, which shows that it would have shown.
    program
        .fill(&mut gpu, BLOB, (0, SIZE), 0x0707_0707)
        .unwrap()
        .unwrap();
    let kind = object.1.backing.get();
    if kind == BackingKind::Memfd as u32 || kind == BackingKind::MemfdWithHeader as u32 {
        let touched = resident(&child).saturating_sub(before);
        assert!(touched >= SIZE, "{touched} bytes");
    } else {
        // Pages of a dma-buf are in no resident set: the counter alone remains.
        let _ = writeln!(std::io::stderr(), "SKIPPED: resident set of a dma-buf");
    }
    drop((gpu, frontend));
    assert_eq!(line(&mut output, "copied"), "0");
    assert!(child.wait().unwrap().success());
}
