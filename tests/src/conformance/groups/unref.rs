//! RESOURCE_UNREF in every state a resource may be in.

use coherd_protocol::gpu::Features;

use crate::conformance::bench::Bench;
use crate::conformance::case::{Group, Need, Outcome};
use crate::conformance::codes::INVALID_RESOURCE_ID;
use crate::conformance::failure::ensure;
use crate::conformance::mapping::{blobs, expect_bytes, expect_mapped, map, size, write_bytes};
use crate::conformance::picture::{FORMAT, Picture, pattern};
use crate::driver::{Blob, Cursor, QueueKind, Request, kind};

pub(super) fn group() -> Group {
    let blob = Need::Device(Features::RESOURCE_BLOB);
    Group::new("unref", "5.7.6.8")
        .case("without-backing", |bench| {
            bench.ok(&Request::create_2d(1, FORMAT, 16, 16))?;
            gone(bench)
        })
        .case("with-backing", |bench| {
            Picture::new(bench, 1, 64, 64)?;
            gone(bench)
        })
        .case("leaves-the-backing-alone", leaves_backing)
        .case("unknown-resource", |bench| {
            bench.refused_as(&Request::unref(9), INVALID_RESOURCE_ID)
        })
        .case("resource-0", |bench| {
            bench.refused_as(&Request::unref(0), INVALID_RESOURCE_ID)
        })
        .case("of-what-is-on-a-scanout", |bench| {
            let picture = Picture::new(bench, 1, 64, 64)?;
            bench.ok(&Request::set_scanout(0, 1, picture.whole()))?;
            bench.ok(&Request::flush(1, picture.whole()))?;
            gone(bench)?;
            bench.refused_as(&Request::flush(1, picture.whole()), INVALID_RESOURCE_ID)
        })
        .case("of-the-cursor", cursor)
        .case("id-is-free-for-another-kind-and-size", |bench| {
            Picture::new(bench, 1, 64, 64)?;
            bench.ok(&Request::unref(1))?;
            let other = Picture::new(bench, 1, 128, 16)?;
            bench.ok(&Request::transfer_to_host_2d(1, other.whole(), 0))
        })
        .case("many-times-over", |bench| {
            for _ in 0..200 {
                Picture::new(bench, 1, 16, 16)?;
                bench.ok(&Request::unref(1))?;
            }
            Ok(())
        })
        .needs(&[Need::Device(Features::VIRGL)])
        .case("of-what-is-attached-to-a-context", |bench| {
            bench.ok(&Request::ctx_create(1, 0, "holds"))?;
            Picture::new(bench, 1, 64, 64)?;
            bench.ok(&Request::ctx_attach(1, 1))?;
            gone(bench)?;
            bench.refused_as(&Request::ctx_detach(1, 1), INVALID_RESOURCE_ID)?;
            bench.ok(&Request::ctx_destroy(1))
        })
        .needs(&[blob])
        .case("of-guest-memory", |bench| {
            let size = size(bench);
            let memory = bench.memory(size)?;
            let blob = Blob {
                resource_id: 1,
                mem: 1,
                size,
                ..Blob::default()
            };
            bench.ok(&blob.request(&[memory]))?;
            gone(bench)
        })
        .needs(&[blob, Need::HostBlob])
        .case("of-a-host-blob-attached-to-its-context", |bench| {
            blobs(bench, &[1])?;
            gone(bench)
        })
        .section("5.7.6.9")
        .needs(&[blob, Need::HostBlob, Need::Window])
        .case("of-a-mapped-blob-frees-its-range", mapped)
}

/// Resource 1 is unreferenced once and no more.
fn gone(bench: &mut Bench<'_>) -> Outcome {
    bench.ok(&Request::unref(1))?;
    bench.refused_as(&Request::unref(1), INVALID_RESOURCE_ID)
}

fn leaves_backing(bench: &mut Bench<'_>) -> Outcome {
    let picture = Picture::new(bench, 1, 32, 32)?;
    let pixels = pattern(1, picture.len());
    picture.fill(bench, &pixels)?;
    bench.ok(&Request::transfer_to_host_2d(1, picture.whole(), 0))?;
    bench.ok(&Request::unref(1))?;
    let memory = picture.backing.first().copied();
    let left = memory.map(|buffer| bench.gpu.read_buffer(buffer));
    ensure(left.transpose()? == Some(pixels), || {
        "the device wrote to the guest's memory".to_owned()
    })
}

fn cursor(bench: &mut Bench<'_>) -> Outcome {
    let picture = Picture::new(bench, 1, 64, 64)?;
    bench.ok(&Request::transfer_to_host_2d(1, picture.whole(), 0))?;
    let cursor = Cursor {
        resource_id: 1,
        ..Cursor::default()
    };
    let update = cursor.request(kind::UPDATE_CURSOR).to_bytes();
    bench.raw(QueueKind::Cursor, &update, 0)?;
    gone(bench)?;
    let moved = cursor.request(kind::MOVE_CURSOR).to_bytes();
    bench.raw(QueueKind::Cursor, &moved, 0).map(drop)
}

/// The guest uses the range again as soon as it has the answer.
fn mapped(bench: &mut Bench<'_>) -> Outcome {
    blobs(bench, &[1, 2])?;
    map(bench, 1, 0)?;
    write_bytes(bench, 0, 1)?;
    bench.ok(&Request::unref(1))?;
    expect_mapped(bench, &[])?;
    map(bench, 2, 0)?;
    write_bytes(bench, 0, 2)?;
    expect_bytes(bench, 0, 2)
}
