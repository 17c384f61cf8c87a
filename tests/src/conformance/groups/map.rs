//! RESOURCE_MAP_BLOB and RESOURCE_UNMAP_BLOB as drivers use them. The guest's side of the window
//! shows what is mapped, and that a blob's bytes are the same through every mapping of it.

use coherd_protocol::gpu::Features;

use crate::conformance::bench::Bench;
use crate::conformance::case::{Group, Need, Outcome};
use crate::conformance::codes::response;
use crate::conformance::failure::ensure;
use crate::conformance::mapping::{
    CTX, blobs, expect_bytes, expect_mapped, map, size, write_bytes,
};
use crate::driver::Request;

/// Mappings at a time, more than the memory table of vhost-user has regions.
const MANY: u32 = 24;

pub(super) fn group() -> Group {
    let window = [
        Need::Device(Features::RESOURCE_BLOB),
        Need::Window,
        Need::HostBlob,
    ];
    Group::new("map", "5.7.6.9")
        .needs(&window)
        .case("info-is-cached-uncached-or-write-combining", info)
        .implied()
        .case("maps-the-blob-where-it-was-asked", |bench| {
            blobs(bench, &[1])?;
            let offset = size(bench) * 3;
            map(bench, 1, offset)?;
            expect_mapped(bench, &[offset])
        })
        .case("unmap-removes-the-mapping", |bench| {
            blobs(bench, &[1])?;
            map(bench, 1, 0)?;
            bench.ok(&Request::unmap_blob(1))?;
            expect_mapped(bench, &[])
        })
        .case("again-after-unmap", again)
        .case("bytes-are-those-of-the-blob", bytes_stay)
        .case("two-blobs-do-not-share-bytes", two_blobs)
        .case("neighbours", neighbours)
        .case("end-of-the-window", end_of_window)
        .case("range-of-another-blob-after-its-unmap", range_again)
        .case("many-at-a-time", many)
        .case("over-and-over", over_and_over)
        .case("survives-its-context", survives_context)
        .section("5.7.6.7")
        .case("with-a-fence", fenced)
        .section("linux uapi")
        .case("unmap-what-is-not-mapped", |bench| {
            blobs(bench, &[1])?;
            bench.left_open(&Request::unmap_blob(1))
        })
}

/// Linux compares the whole word, so that no other bit may be set.
fn info(bench: &mut Bench<'_>) -> Outcome {
    blobs(bench, &[1])?;
    let info = map(bench, 1, 0)?;
    bench.note(format!("map_info {info}"));
    ensure((1..=3).contains(&info), || format!("map_info {info:#x}"))
}

fn again(bench: &mut Bench<'_>) -> Outcome {
    blobs(bench, &[1])?;
    for offset in [0, size(bench), 0] {
        map(bench, 1, offset)?;
        expect_mapped(bench, &[offset])?;
        bench.ok(&Request::unmap_blob(1))?;
    }
    Ok(())
}

fn bytes_stay(bench: &mut Bench<'_>) -> Outcome {
    blobs(bench, &[1])?;
    map(bench, 1, 0)?;
    write_bytes(bench, 0, 0x5a)?;
    bench.ok(&Request::unmap_blob(1))?;
    let other = size(bench) * 8;
    map(bench, 1, other)?;
    expect_bytes(bench, other, 0x5a)
}

fn two_blobs(bench: &mut Bench<'_>) -> Outcome {
    blobs(bench, &[1, 2])?;
    let other = size(bench) * 2;
    map(bench, 1, 0)?;
    map(bench, 2, other)?;
    write_bytes(bench, 0, 1)?;
    write_bytes(bench, other, 2)?;
    expect_bytes(bench, 0, 1)?;
    expect_bytes(bench, other, 2)
}

fn neighbours(bench: &mut Bench<'_>) -> Outcome {
    blobs(bench, &[1, 2, 3])?;
    let step = size(bench);
    // The one between the others last.
    for (id, offset) in [(1, 0), (3, 2 * step), (2, step)] {
        map(bench, id, offset)?;
        write_bytes(bench, offset, u8::try_from(id).unwrap_or(0))?;
    }
    expect_mapped(bench, &[0, step, 2 * step])?;
    expect_bytes(bench, 0, 1)?;
    expect_bytes(bench, step, 2)?;
    expect_bytes(bench, 2 * step, 3)
}

fn end_of_window(bench: &mut Bench<'_>) -> Outcome {
    blobs(bench, &[1])?;
    let last = bench.window()?.size() - size(bench);
    map(bench, 1, last)?;
    write_bytes(bench, last, 7)?;
    expect_mapped(bench, &[last])
}

fn range_again(bench: &mut Bench<'_>) -> Outcome {
    blobs(bench, &[1, 2])?;
    map(bench, 1, 0)?;
    write_bytes(bench, 0, 1)?;
    bench.ok(&Request::unmap_blob(1))?;
    map(bench, 2, 0)?;
    write_bytes(bench, 0, 2)?;
    bench.ok(&Request::unmap_blob(2))?;
    map(bench, 1, 0)?;
    expect_bytes(bench, 0, 1)
}

fn many(bench: &mut Bench<'_>) -> Outcome {
    let ids: Vec<u32> = (1..=MANY).collect();
    blobs(bench, &ids)?;
    let step = size(bench);
    let offsets: Vec<u64> = ids.iter().map(|id| u64::from(*id) * step).collect();
    for (id, offset) in ids.iter().zip(&offsets) {
        map(bench, *id, *offset)?;
        write_bytes(bench, *offset, u8::try_from(*id).unwrap_or(0))?;
    }
    expect_mapped(bench, &offsets)?;
    for (id, offset) in ids.iter().zip(&offsets) {
        expect_bytes(bench, *offset, u8::try_from(*id).unwrap_or(0))?;
        bench.ok(&Request::unmap_blob(*id))?;
    }
    expect_mapped(bench, &[])
}

fn over_and_over(bench: &mut Bench<'_>) -> Outcome {
    blobs(bench, &[1])?;
    for round in 0..100 {
        map(bench, 1, 0)?;
        write_bytes(bench, 0, round)?;
        bench.ok(&Request::unmap_blob(1))?;
    }
    map(bench, 1, 0)?;
    expect_bytes(bench, 0, 99)
}

fn survives_context(bench: &mut Bench<'_>) -> Outcome {
    blobs(bench, &[1])?;
    map(bench, 1, 0)?;
    write_bytes(bench, 0, 9)?;
    bench.ok(&Request::ctx_destroy(CTX))?;
    expect_bytes(bench, 0, 9)?;
    bench.ok(&Request::unmap_blob(1))?;
    bench.ok(&Request::unref(1))?;
    expect_mapped(bench, &[])
}

/// The mapping is there when the fence is.
fn fenced(bench: &mut Bench<'_>) -> Outcome {
    blobs(bench, &[1])?;
    let fence = bench.global_fence();
    let answer = bench.call(&Request::map_blob(1, 0).fence(fence), 8)?;
    ensure(answer.code() == 0x1106, || response(answer.code()))?;
    ensure(answer.fence() == Some(fence), || {
        format!("fence {:?}", answer.fence())
    })?;
    write_bytes(bench, 0, 1)
}
