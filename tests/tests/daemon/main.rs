//! The daemon as a VMM and a guest see it, without a GPU.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod blob_context;
mod blobs;
mod commands;
mod config_space;
mod contexts;
mod control;
mod crosvm_reset;
mod dirty_log;
mod disconnect;
mod fences;
mod handshake;
mod hangs;
mod hot_plug;
mod interleavings;
mod map_barrier;
mod mapping_types;
mod memory_table;
mod metrics;
mod misuse;
mod persist;
mod queue_misuse;
mod queues;
mod quotas;
mod reset;
mod snapshot;
mod stop;
mod sync;
mod textures;
mod two_d;

use std::fmt::Debug;

use coherd::device::quota::{Quota, Quotas, Scope};
use coherd_protocol::gpu::header::{Fence, Timeline};
use coherd_tests::driver::{Blob, DriverError, Token};
use coherd_tests::frontend::Flavour;
use coherd_tests::renderer::{CAPSET, Recipe};
use coherd_tests::rig::Rig;

/// The VMMs that have a window.
const WITH_WINDOW: [Flavour; 2] = [Flavour::Qemu, Flavour::Crosvm];

/// Bytes of a page, of the host and of the guest.
const PAGE: u64 = 4096;

/// The context of [`rig`].
const CTX: u32 = 1;

/// A rig whose guest has context [`CTX`].
fn rig(flavour: Flavour) -> Rig {
    with_context(Rig::new(flavour).unwrap())
}

/// Creates context [`CTX`].
fn with_context(mut rig: Rig) -> Rig {
    rig.gpu.ctx_create(CTX, CAPSET, "test").unwrap();
    rig
}

/// A mappable host blob of context [`CTX`].
fn mappable(resource_id: u32, recipe: Recipe, size: u64) -> Blob {
    Blob {
        ctx_id: CTX,
        resource_id,
        mem: 2,
        flags: 1,
        blob_id: recipe.blob_id(),
        size,
    }
}

/// A fence on ring 1 of context [`CTX`] that waits for the renderer, and its request.
fn pending_fence(rig: &mut Rig) -> (Fence, Token) {
    let fence = rig.gpu.next_fence(Timeline::Ring {
        ctx_id: CTX,
        ring_idx: 1,
    });
    let token = rig.gpu.submit_3d_fenced(CTX, &[], fence).unwrap();
    assert!(rig.host.wait_fence(fence, rig.frontend.deadline()));
    (fence, token)
}

/// Waits until the guest sees a first display that is so many pixels wide.
fn until_width(rig: &mut Rig, width: u32) {
    let deadline = rig.frontend.deadline();
    while rig.gpu.display_info().unwrap()[0].rect.width.get() != width {
        assert!(!deadline.passed(), "displays do not change");
    }
}

/// Quotas of a VM with so many mappings.
fn mappings(count: u64) -> Quotas {
    let mut quotas = Quotas::default();
    quotas.set(Scope::Vm, Quota::Mappings, count).unwrap();
    quotas
}

/// The code with which a command was refused.
fn code<T: Debug>(result: Result<T, DriverError>) -> u32 {
    match result.unwrap_err() {
        DriverError::Refused { code, .. } => code,
        other => panic!("{other:?}"),
    }
}

/// Bytes that differ from those of another seed and from page to page.
fn pattern(seed: u8, len: u64) -> Vec<u8> {
    (0..len)
        .map(|index| (index ^ index >> 12).to_le_bytes()[0].wrapping_add(seed))
        .collect()
}
