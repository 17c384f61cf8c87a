//! Venus itself behind the socket: virglrenderer's render server, a VMM, a guest's driver.
//!
//! One test, because virglrenderer can be started once in a process.

#![cfg(feature = "venus")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;

use coherd::renderer::Dispatch;
use coherd::renderer::venus::Host;
use coherd::serve::{Options, RendererFactory};
use coherd_protocol::blob_context;
use coherd_protocol::gpu::capset::{CAPSET_VENUS, VenusCapset};
use coherd_protocol::gpu::header::Timeline;
use coherd_tests::driver::{Blob, DriverError, Gpu};
use coherd_tests::frontend::{Config, Flavour, Frontend};
use coherd_tests::renderer::{self, FileKind, Recipe};
use coherd_tests::rig::Server;

const SIZE: u64 = 1 << 20;
const CACHED: u32 = 1;

/// Shared memory of a Venus context, as Mesa makes it for its ring.
fn shared_memory(ctx_id: u32, resource_id: u32) -> Blob {
    Blob {
        ctx_id,
        resource_id,
        mem: 2,
        flags: 1,
        blob_id: 0,
        size: SIZE,
    }
}

/// The context of the other renderer, in the place of the blob context.
const OTHER: u32 = 9;

/// A blob of the other renderer.
fn foreign(resource_id: u32, file: FileKind) -> Blob {
    Blob {
        ctx_id: OTHER,
        blob_id: Recipe::new(file).blob_id(),
        ..shared_memory(OTHER, resource_id)
    }
}

/// Venus and the test's renderer as one.
fn both(host: Host, other: &renderer::Host) -> RendererFactory {
    let other = other.factory_of(blob_context::CAPSET_BLOB);
    Box::new(move |fences| {
        let venus = Box::new(host.start(fences.clone())?);
        let both = Dispatch::new().with(venus).with(other(fences)?);
        Ok(Box::new(both))
    })
}

/// Waits until the worker of a context has done everything before.
fn settle(gpu: &mut Gpu, frontend: &Frontend, ctx_id: u32) {
    let fence = gpu.next_fence(Timeline::Ring {
        ctx_id,
        ring_idx: 0,
    });
    let token = gpu.submit_3d_fenced(ctx_id, &[], fence).unwrap();
    let answer = gpu.wait(token, frontend.deadline()).unwrap();
    assert_eq!(answer.fence(), Some(fence));
}

/// Other processes that have a file open, by their ids.
fn holders(inode: u64) -> BTreeSet<u32> {
    let has = |pid: &u32| {
        let fds = fs::read_dir(format!("/proc/{pid}/fd"))
            .into_iter()
            .flatten();
        let inodes = fds.filter_map(|fd| fs::metadata(fd.ok()?.path()).ok());
        inodes.into_iter().any(|file| file.ino() == inode)
    };
    let processes = fs::read_dir("/proc").unwrap();
    processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| *pid != std::process::id())
        .filter(has)
        .collect()
}

/// Blobs of another renderer reach the workers of the contexts they are attached to, and leave
/// them.
fn shares(gpu: &mut Gpu, frontend: &Frontend, other: &renderer::Host) {
    gpu.ctx_create(OTHER, blob_context::CAPSET_BLOB, "other")
        .unwrap();
    for file in [FileKind::Shm, FileKind::DmaBuf] {
        gpu.create_blob(&foreign(90, file), &[]).unwrap();
        assert_eq!(gpu.map_blob(90, 16 * SIZE).unwrap(), CACHED);
        let inode = other.inode(90).unwrap();

        gpu.ctx_attach(1, 90).unwrap();
        settle(gpu, frontend, 1);
        let first = holders(inode);
        assert_eq!(first.len(), 1, "{file:?}: the worker of context 1");
        gpu.ctx_attach(2, 90).unwrap();
        settle(gpu, frontend, 2);
        assert_eq!(holders(inode).len(), 2, "{file:?}: both workers");

        gpu.ctx_detach(2, 90).unwrap();
        settle(gpu, frontend, 2);
        assert_eq!(holders(inode), first, "{file:?}: that of context 1 again");
        gpu.ctx_attach(2, 90).unwrap();

        gpu.unref(90).unwrap();
        for ctx_id in [1, 2] {
            settle(gpu, frontend, ctx_id);
        }
        assert!(holders(inode).is_empty(), "{file:?}: nobody");
        assert_eq!(other.inode(90), None);
    }

    // The header of this file is not for anybody else, and Vulkan cannot skip it.
    gpu.create_blob(&foreign(91, FileKind::Opaque), &[])
        .unwrap();
    let refused = gpu.ctx_attach(1, 91).unwrap_err();
    assert!(
        matches!(refused, DriverError::Refused { .. }),
        "{refused:?}"
    );
    gpu.unref(91).unwrap();
    gpu.ctx_destroy(OTHER).unwrap();
}

#[test]
fn contexts_have_memory_and_fences_and_fail_alone() {
    let host = Host::find(None).unwrap();
    let other = renderer::Host::new().unwrap();
    let factory = both(host, &other);
    let (server, stream) = Server::pair(Options::default(), factory).unwrap();
    let frontend = Frontend::from_stream(stream, Config::new(Flavour::Qemu)).unwrap();
    frontend.start().unwrap();
    let mut gpu = Gpu::new(&frontend).unwrap();
    let window = frontend.window().unwrap();

    let info = gpu.capset_info(0).unwrap();
    let len = usize::try_from(info.max_size.get()).unwrap();
    let capset = gpu
        .capset(CAPSET_VENUS, info.max_version.get(), len)
        .unwrap();
    let capset = VenusCapset::from_bytes(&capset).unwrap();
    assert_eq!(capset.supports_blob_id_0.get(), 1);

    for ctx_id in [1, 2] {
        gpu.ctx_create(ctx_id, CAPSET_VENUS, "venus-test").unwrap();
        gpu.create_blob(&shared_memory(ctx_id, ctx_id), &[])
            .unwrap();
        let offset = u64::from(ctx_id) * SIZE;
        assert_eq!(gpu.map_blob(ctx_id, offset).unwrap(), CACHED);
        window
            .write(offset, &[ctx_id.to_le_bytes()[0]; 64])
            .unwrap();
    }

    // The bytes are in the blob, not in the mapping.
    gpu.unmap_blob(1).unwrap();
    gpu.map_blob(1, 8 * SIZE).unwrap();
    assert_eq!(window.read_vec(8 * SIZE, 64).unwrap(), [1; 64]);
    assert_eq!(window.read_vec(2 * SIZE, 64).unwrap(), [2; 64]);

    shares(&mut gpu, &frontend, &other);

    // Ring 0 is the processor's timeline of a context.
    let ring = |ctx_id| Timeline::Ring {
        ctx_id,
        ring_idx: 0,
    };
    let fence = gpu.next_fence(ring(1));
    let token = gpu.submit_3d_fenced(1, &[], fence).unwrap();
    let answer = gpu.wait(token, frontend.deadline()).unwrap();
    assert_eq!(answer.fence(), Some(fence));

    // No Venus command has this code: the worker gives up, and its context with it.
    let fence = gpu.next_fence(ring(1));
    let token = gpu.submit_3d_fenced(1, &[0xff; 64], fence).unwrap();
    gpu.wait(token, frontend.deadline()).unwrap();
    let fence = gpu.next_fence(ring(2));
    let token = gpu.submit_3d_fenced(2, &[], fence).unwrap();
    let answer = gpu.wait(token, frontend.deadline()).unwrap();
    answer.expect_code(0x1100).unwrap();
    gpu.ctx_destroy(1).unwrap();

    assert_eq!(frontend.fault(), None);
    assert!(other.complaints().is_empty(), "{:?}", other.complaints());
    drop((gpu, frontend));
    server.finish().unwrap();
}
