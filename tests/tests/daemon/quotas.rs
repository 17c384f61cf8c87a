//! Over a quota a guest gets ERR_OUT_OF_MEMORY, keeps what it has, and may have as much again
//! once something has gone.

use coherd::device::quota::{Quota, Quotas, Scope};
use coherd::serve::Options;
use coherd_protocol::gpu::Format;
use coherd_protocol::gpu::header::Timeline;
use coherd_tests::driver::{Blob, DriverError, Gpu};
use coherd_tests::frontend::{Config, Flavour};
use coherd_tests::renderer::{CAPSET, Recipe};
use coherd_tests::rig::Rig;

use crate::{CTX, PAGE, code, mappable, pending_fence, with_context};

/// ERR_OUT_OF_MEMORY
const OUT_OF_MEMORY: u32 = 0x1201;

/// A context besides [`CTX`].
const OTHER: u32 = 2;

/// A rig with the contexts [`CTX`] and [`OTHER`] and one quota that is not the default.
fn rig_with(scope: Scope, quota: Quota, value: u64) -> Rig {
    let mut quotas = Quotas::default();
    quotas.set(scope, quota, value).unwrap();
    let options = Options {
        quotas,
        ..Options::default()
    };
    let mut rig = with_context(Rig::with(Config::new(Flavour::Qemu), options).unwrap());
    rig.gpu.ctx_create(OTHER, CAPSET, "other").unwrap();
    rig
}

/// Takes `take(1)` and `take(2)`, which fill a quota, and sees `take(3)` refused until
/// `give_back(1)`.
fn fills(
    rig: &mut Rig,
    take: impl Fn(&mut Gpu, u32) -> Result<(), DriverError>,
    give_back: impl Fn(&mut Gpu, u32) -> Result<(), DriverError>,
) {
    take(&mut rig.gpu, 1).unwrap();
    take(&mut rig.gpu, 2).unwrap();
    for _ in 0..2 {
        assert_eq!(code(take(&mut rig.gpu, 3)), OUT_OF_MEMORY);
    }
    give_back(&mut rig.gpu, 1).unwrap();
    take(&mut rig.gpu, 3).unwrap();
    assert_eq!(code(take(&mut rig.gpu, 1)), OUT_OF_MEMORY);
}

/// A host blob of two pages.
fn blob(ctx_id: u32, resource_id: u32) -> Blob {
    Blob {
        ctx_id,
        ..mappable(resource_id, Recipe::SHM, 2 * PAGE)
    }
}

#[test]
fn bytes_of_blobs() {
    for scope in [Scope::Vm, Scope::Context] {
        let mut rig = rig_with(scope, Quota::BlobBytes, 5 * PAGE);
        fills(
            &mut rig,
            |gpu, id| gpu.create_blob(&blob(CTX, id), &[]),
            Gpu::unref,
        );
        let other = rig.gpu.create_blob(&blob(OTHER, 9), &[]);
        match scope {
            Scope::Vm => assert_eq!(code(other), OUT_OF_MEMORY),
            Scope::Context => other.unwrap(),
        }
        rig.finish().unwrap();
    }
}

#[test]
fn blob_that_the_renderer_refuses_costs_nothing() {
    let mut rig = rig_with(Scope::Context, Quota::BlobBytes, 2 * PAGE);
    let refused = Blob {
        blob_id: 99,
        ..blob(CTX, 1)
    };
    for _ in 0..3 {
        assert_eq!(code(rig.gpu.create_blob(&refused, &[])), 0x1200);
    }
    rig.gpu.create_blob(&blob(CTX, 1), &[]).unwrap();
    rig.finish().unwrap();
}

#[test]
fn blob_outlives_its_context_and_is_not_charged_to_the_next_with_its_id() {
    let mut rig = rig_with(Scope::Context, Quota::BlobBytes, 2 * PAGE);
    rig.gpu.create_blob(&blob(CTX, 1), &[]).unwrap();
    rig.gpu.ctx_destroy(CTX).unwrap();
    rig.gpu.ctx_create(CTX, CAPSET, "next").unwrap();

    rig.gpu.create_blob(&blob(CTX, 2), &[]).unwrap();
    rig.gpu.unref(1).unwrap();

    assert_eq!(code(rig.gpu.create_blob(&blob(CTX, 3), &[])), OUT_OF_MEMORY);
    rig.finish().unwrap();
}

#[test]
fn images_by_their_bytes_and_their_number() {
    for (quota, two_images) in [(Quota::ImageBytes, 2 * PAGE), (Quota::Resources, 2)] {
        let mut rig = rig_with(Scope::Vm, quota, two_images);
        fills(
            &mut rig,
            |gpu, id| gpu.create_2d(id, Format::B8G8R8A8, 1, 1),
            Gpu::unref,
        );
        rig.finish().unwrap();
    }
}

#[test]
fn attachments() {
    for scope in [Scope::Vm, Scope::Context] {
        let mut rig = rig_with(scope, Quota::Attachments, 2);
        for id in 1..=3 {
            rig.gpu.create_2d(id, Format::B8G8R8A8, 1, 1).unwrap();
        }
        fills(
            &mut rig,
            |gpu, id| gpu.ctx_attach(CTX, id),
            |gpu, id| gpu.ctx_detach(CTX, id),
        );
        // One that is there already takes nothing.
        rig.gpu.ctx_attach(CTX, 3).unwrap();
        rig.gpu.ctx_destroy(CTX).unwrap();
        rig.gpu.ctx_attach(OTHER, 1).unwrap();
        rig.gpu.unref(1).unwrap();
        rig.gpu.ctx_attach(OTHER, 2).unwrap();
        rig.gpu.ctx_attach(OTHER, 3).unwrap();
        rig.finish().unwrap();
    }
}

#[test]
fn contexts() {
    let mut rig = rig_with(Scope::Vm, Quota::Contexts, 4);
    fills(
        &mut rig,
        |gpu, id| gpu.ctx_create(10 + id, CAPSET, "one more"),
        |gpu, id| gpu.ctx_destroy(10 + id),
    );
    rig.finish().unwrap();
}

#[test]
fn mappings() {
    for scope in [Scope::Vm, Scope::Context] {
        let mut rig = rig_with(scope, Quota::Mappings, 2);
        for id in 1..=3 {
            rig.gpu.create_blob(&blob(CTX, id), &[]).unwrap();
        }
        rig.gpu.create_blob(&blob(OTHER, 4), &[]).unwrap();
        let offset = |id: u32| u64::from(id) * 2 * PAGE;
        fills(
            &mut rig,
            |gpu, id| gpu.map_blob(id, offset(id)).map(drop),
            Gpu::unmap_blob,
        );
        let other = rig.gpu.map_blob(4, offset(4));
        match scope {
            Scope::Vm => assert_eq!(code(other), OUT_OF_MEMORY),
            Scope::Context => assert_eq!(other.unwrap(), 1),
        }
        rig.finish().unwrap();
    }
}

#[test]
fn map_that_fails_costs_nothing() {
    let mut rig = rig_with(Scope::Context, Quota::Mappings, 1);
    rig.gpu.create_blob(&blob(CTX, 1), &[]).unwrap();
    for _ in 0..3 {
        assert_eq!(code(rig.gpu.map_blob(1, 1)), 0x1205);
    }
    rig.gpu.map_blob(1, 0).unwrap();
    rig.finish().unwrap();
}

#[test]
fn bytes_of_a_command_stream() {
    let mut rig = rig_with(Scope::Vm, Quota::SubmitBytes, 16);
    rig.gpu.submit_3d(CTX, &fill(1)).unwrap_err();
    rig.gpu.ctx_destroy(CTX).unwrap();
    rig.gpu.ctx_create(CTX, CAPSET, "next").unwrap();
    rig.gpu.create_blob(&blob(CTX, 1), &[]).unwrap();

    rig.gpu.submit_3d(CTX, &fill(1)).unwrap();
    let twice = [fill(1), fill(1)].concat();
    assert_eq!(code(rig.gpu.submit_3d(CTX, &twice)), OUT_OF_MEMORY);

    rig.gpu.submit_3d(CTX, &fill(1)).unwrap();
    rig.finish().unwrap();
}

fn fill(resource_id: u32) -> Vec<u8> {
    let operation = coherd_tests::renderer::Operation::Fill {
        resource_id,
        byte: 1,
    };
    operation.to_bytes()
}

#[test]
fn entries_of_backing_lists() {
    let mut rig = rig_with(Scope::Vm, Quota::BackingEntries, 5);
    let page = rig.gpu.buffer(&[0; 4096]).unwrap();
    for id in 1..=3 {
        rig.gpu.create_2d(id, Format::B8G8R8A8, 1, 1).unwrap();
    }
    fills(
        &mut rig,
        |gpu, id| gpu.attach_backing(id, &[page, page]),
        Gpu::detach_backing,
    );
    // A list that is refused for another reason costs nothing, and unref gives back.
    rig.gpu.unref(2).unwrap();
    assert_eq!(code(rig.gpu.attach_backing(3, &[page])), 0x1200);
    let guest = Blob {
        mem: 1,
        blob_id: 0,
        ..blob(CTX, 7)
    };
    assert_eq!(code(rig.gpu.create_blob(&guest, &[page])), 0x1200);
    rig.gpu.create_blob(&guest, &[page, page]).unwrap();
    assert_eq!(
        code(rig.gpu.attach_backing(1, &[page, page])),
        OUT_OF_MEMORY
    );
    rig.finish().unwrap();
}

#[test]
fn reset_gives_everything_back() {
    let mut rig = rig_with(Scope::Vm, Quota::Resources, 2);
    for _ in 0..3 {
        for id in 1..=2 {
            rig.gpu.create_2d(id, Format::B8G8R8A8, 1, 1).unwrap();
        }
        rig.reboot().unwrap();
    }
    rig.finish().unwrap();
}

#[test]
fn fences() {
    for scope in [Scope::Vm, Scope::Context] {
        let mut rig = rig_with(scope, Quota::Fences, 2);
        let (_, first) = pending_fence(&mut rig);
        let (second, _) = pending_fence(&mut rig);

        let refused = rig.gpu.next_fence(second.timeline);
        let refused = rig.gpu.submit_3d_fenced(CTX, &[], refused).unwrap();
        let global = rig.gpu.next_fence(Timeline::Global);
        let other = rig.gpu.submit_3d_fenced(OTHER, &[], global).unwrap();

        let deadline = rig.frontend.deadline();
        let other = rig.gpu.wait(other, deadline).unwrap().code();
        assert_eq!(other == OUT_OF_MEMORY, scope == Scope::Vm, "{other:#x}");
        // Nothing overtakes the fences before it.
        assert_eq!(rig.gpu.try_take(refused).unwrap(), None);
        rig.host.signal(second);
        let refused = rig.gpu.wait(refused, deadline).unwrap();
        assert_eq!(refused.code(), OUT_OF_MEMORY);
        let first = rig.gpu.wait(first, deadline).unwrap();
        assert_eq!(first.code(), 0x1100);
        pending_fence(&mut rig);
        rig.finish().unwrap();
    }
}
