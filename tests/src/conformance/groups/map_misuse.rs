//! RESOURCE_MAP_BLOB and RESOURCE_UNMAP_BLOB as no driver should use them. The VMM must be asked
//! for none of it: crosvm ends the virtual machine at the first request it cannot carry out.

use coherd_protocol::gpu::Features;

use crate::conformance::bench::Bench;
use crate::conformance::case::{Group, Need, Outcome};
use crate::conformance::codes::INVALID_RESOURCE_ID;
use crate::conformance::mapping::{
    CTX, blobs, expect_bytes, expect_mapped, map, size, unasked, write_bytes,
};
use crate::conformance::picture::Picture;
use crate::driver::{Blob, Request};

pub(super) fn group() -> Group {
    let blob = Need::Device(Features::RESOURCE_BLOB);
    Group::new("map-misuse", "5.7.6.9")
        .needs(&[blob, Need::Window])
        .case("map-unknown-resource", |bench| {
            let request = Request::map_blob(9, 0);
            unasked(bench, |bench| {
                bench.refused_as(&request, INVALID_RESOURCE_ID)
            })
        })
        .case("unmap-unknown-resource", |bench| {
            let request = Request::unmap_blob(9);
            unasked(bench, |bench| {
                bench.refused_as(&request, INVALID_RESOURCE_ID)
            })
        })
        .case("map-2d-resource", |bench| {
            Picture::new(bench, 1, 64, 64)?;
            refused(bench, &Request::map_blob(1, 0))?;
            expect_mapped(bench, &[])
        })
        .case("map-guest-memory", guest_memory)
        .needs(&[blob, Need::Window, Need::HostBlob])
        .case("map-what-is-not-mappable", not_mappable)
        .case("map-twice", |bench| {
            mapped(bench)?;
            let other = size(bench);
            refused(bench, &Request::map_blob(1, other))?;
            still_mapped(bench)
        })
        .case("map-twice-at-the-same-offset", |bench| {
            mapped(bench)?;
            refused(bench, &Request::map_blob(1, 0))?;
            still_mapped(bench)
        })
        .case("map-over-another", |bench| overlapping(bench, |_| 0))
        .case("map-over-the-end-of-another", |bench| {
            overlapping(bench, |bench| bench.facts().blob_alignment())
        })
        .case("map-beyond-the-window", |bench| {
            let beyond = bench.window()?.size();
            refused_at(bench, beyond)
        })
        .case("map-over-the-end-of-the-window", |bench| {
            let offset = bench.window()?.size() - bench.facts().blob_alignment();
            refused_at(bench, offset)
        })
        .case("offset-that-overflows", |bench| {
            let offset = u64::MAX - (bench.facts().blob_alignment() - 1);
            refused_at(bench, offset)
        })
        .case("offset-inside-a-page", |bench| refused_at(bench, 1))
        .case("range-is-free-after-a-refusal", |bench| {
            blobs(bench, &[1])?;
            refused(bench, &Request::map_blob(1, 1))?;
            unasked(bench, |bench| {
                bench.answered(&Request::unmap_blob(1)).map(drop)
            })?;
            map(bench, 1, 0)?;
            expect_mapped(bench, &[0])
        })
        .case("unmap-twice", |bench| {
            mapped(bench)?;
            bench.ok(&Request::unmap_blob(1))?;
            unasked(bench, |bench| {
                bench.answered(&Request::unmap_blob(1)).map(drop)
            })?;
            expect_mapped(bench, &[])
        })
}

/// The command is refused without a word to the VMM.
fn refused(bench: &mut Bench<'_>, request: &Request) -> Outcome {
    unasked(bench, |bench| bench.refused(request))
}

/// Blob 1 at the start of the window, full of threes.
fn mapped(bench: &mut Bench<'_>) -> Outcome {
    blobs(bench, &[1, 2])?;
    map(bench, 1, 0)?;
    write_bytes(bench, 0, 3)
}

fn still_mapped(bench: &mut Bench<'_>) -> Outcome {
    expect_mapped(bench, &[0])?;
    expect_bytes(bench, 0, 3)
}

fn overlapping(bench: &mut Bench<'_>, offset: impl Fn(&Bench<'_>) -> u64) -> Outcome {
    mapped(bench)?;
    let offset = offset(bench);
    refused(bench, &Request::map_blob(2, offset))?;
    still_mapped(bench)
}

fn refused_at(bench: &mut Bench<'_>, offset: u64) -> Outcome {
    blobs(bench, &[1])?;
    refused(bench, &Request::map_blob(1, offset))?;
    expect_mapped(bench, &[])
}

fn guest_memory(bench: &mut Bench<'_>) -> Outcome {
    let size = size(bench);
    let memory = bench.memory(size)?;
    let blob = Blob {
        resource_id: 1,
        mem: 1,
        flags: 1,
        size,
        ..Blob::default()
    };
    // A device may refuse the flag at once.
    unasked(bench, |bench| {
        if bench.answered(&blob.request(&[memory]))? {
            bench.refused(&Request::map_blob(1, 0))?;
        }
        Ok(())
    })?;
    expect_mapped(bench, &[])
}

fn not_mappable(bench: &mut Bench<'_>) -> Outcome {
    bench.context(CTX)?;
    let blob = Blob {
        flags: 2,
        ..bench.host_blob(CTX, 1, size(bench))
    };
    bench.create_if_possible(&blob)?;
    refused(bench, &Request::map_blob(1, 0))?;
    expect_mapped(bench, &[])
}
