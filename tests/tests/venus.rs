//! Venus itself behind the socket: virglrenderer's render server, a VMM, a guest's driver.
//!
//! One test, because virglrenderer can be started once in a process.

#![cfg(feature = "venus")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use coherd::renderer::venus::Host;
use coherd::serve::Options;
use coherd_protocol::gpu::capset::{CAPSET_VENUS, VenusCapset};
use coherd_protocol::gpu::header::Timeline;
use coherd_tests::driver::{Blob, Gpu};
use coherd_tests::frontend::{Config, Flavour, Frontend};
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

#[test]
fn contexts_have_memory_and_fences_and_fail_alone() {
    let host = Host::find(None).unwrap();
    let factory = Box::new(|fences| Ok(Box::new(host.start(fences)?) as _));
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
    drop((gpu, frontend));
    server.finish().unwrap();
}
