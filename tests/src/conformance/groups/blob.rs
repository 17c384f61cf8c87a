//! RESOURCE_CREATE_BLOB. What the guest reads and writes of a blob is in the group `map`.

use coherd_protocol::gpu::Features;
use vm_memory::GuestAddress;

use crate::conformance::bench::Bench;
use crate::conformance::case::{Group, Need, Outcome};
use crate::conformance::codes::INVALID_CONTEXT_ID;
use crate::conformance::failure::Failure;
use crate::conformance::mapping::blobs;
use crate::driver::{Blob, Buffer, PAGE, Request};

/// VIRTIO_GPU_BLOB_MEM_HOST3D_GUEST
const HOST3D_GUEST: u32 = 3;

/// A size that rounds up to nothing.
const OVERFLOWS: u64 = u64::MAX - 4095;

pub(super) fn group() -> Group {
    let blob = Need::Device(Features::RESOURCE_BLOB);
    let virgl = Need::Device(Features::VIRGL);
    Group::new("blob", "5.7.6.8")
        .needs(&[blob])
        .case("guest-memory", |bench| guest_flags(bench, 0))
        .case("guest-memory-shareable", |bench| guest_flags(bench, 2))
        .case("guest-memory-cross-device", |bench| guest_flags(bench, 4))
        .case("guest-memory-in-pieces", pieces)
        .case("guest-memory-attached-later", attached_later)
        .case("guest-memory-attached-twice", attached_twice)
        .implied()
        .case("guest-memory-detached-and-attached", detached)
        .case("guest-memory-outside-ram", outside_ram)
        .case("guest-memory-shorter-than-the-blob", short)
        .case("fewer-entries-than-told", miscounted)
        .case("guest-memory-with-a-blob-id", blob_id_of_guest)
        .case("id-0", |bench| refused(bench, |blob| blob.resource_id = 0))
        .implied()
        .case("id-of-another-resource", |bench| {
            bench.ok(&guest(bench).request(&[]))?;
            bench.refused(&guest(bench).request(&[]))
        })
        .case("size-0", |bench| refused(bench, |blob| blob.size = 0))
        .case("memory-0", |bench| refused(bench, |blob| blob.mem = 0))
        .case("memory-4", |bench| refused(bench, |blob| blob.mem = 4))
        .case("unknown-flag", |bench| {
            refused(bench, |blob| blob.flags = 8)
        })
        .case("size-that-overflows", overflows)
        .section("5.7.4")
        .needs(&[blob, Need::Device(Features::BLOB_ALIGNMENT)])
        .case("size-is-aligned", aligned)
        .section("5.7.6.8")
        .needs(&[blob, virgl])
        .case("host-memory-of-no-context", |bench| {
            let blob = bench.host_blob(0, 1, bench.facts().blob_alignment());
            bench.refused(&blob.request(&[]))
        })
        .case("host-memory-of-unknown-context", |bench| {
            let blob = bench.host_blob(7, 1, bench.facts().blob_alignment());
            bench.refused_as(&blob.request(&[]), INVALID_CONTEXT_ID)
        })
        .case("host-memory-of-a-context-without-it", |bench| {
            bench.ok(&Request::ctx_create(1, 0, "empty"))?;
            let mut blob = bench.host_blob(1, 1, bench.facts().blob_alignment());
            blob.blob_id = u64::MAX;
            bench.refused(&blob.request(&[]))
        })
        .needs(&[blob, virgl, Need::HostBlob])
        .case("host-memory-mappable", |bench| {
            blobs(bench, &[1])?;
            bench.ok(&Request::unref(1))
        })
        .case("host-memory-that-is-never-mapped", |bench| {
            host_flags(bench, 0)
        })
        .case("host-memory-shareable", |bench| host_flags(bench, 1 | 2))
        .case("host-memory-of-an-unknown-object", |bench| {
            bench.context(1)?;
            let mut blob = bench.host_blob(1, 1, bench.facts().blob_alignment());
            blob.blob_id = 0xdead_0000_0000_beef;
            bench.refused(&blob.request(&[]))
        })
        .case("host-memory-size-that-overflows", |bench| {
            bench.context(1)?;
            let blob = bench.host_blob(1, 1, OVERFLOWS);
            bench.refused(&blob.request(&[]))
        })
        .case("host-memory-outlives-its-context", host_then_destroy)
        .case("host-memory-with-guest-entries", host_with_entries)
        .case("host-and-guest-memory-or-refuse", both_memories)
}

/// A blob in guest memory, as small as may be.
fn guest(bench: &Bench<'_>) -> Blob {
    Blob {
        resource_id: 1,
        mem: 1,
        size: bench.facts().blob_alignment() * 4,
        ..Blob::default()
    }
}

fn guest_flags(bench: &mut Bench<'_>, flags: u32) -> Outcome {
    let blob = Blob {
        flags,
        ..guest(bench)
    };
    let memory = bench.memory(blob.size)?;
    bench.ok(&blob.request(&[memory]))?;
    bench.ok(&Request::unref(1))
}

fn refused(bench: &mut Bench<'_>, change: impl FnOnce(&mut Blob)) -> Outcome {
    let mut blob = guest(bench);
    change(&mut blob);
    bench.refused(&blob.request(&[]))
}

fn pieces(bench: &mut Bench<'_>) -> Outcome {
    let blob = guest(bench);
    let quarter = blob.size / 4;
    let mut entries = Vec::new();
    for _ in 0..4 {
        entries.push(bench.memory(quarter)?);
    }
    entries.reverse();
    bench.ok(&blob.request(&entries))
}

fn attached_later(bench: &mut Bench<'_>) -> Outcome {
    let blob = guest(bench);
    let memory = bench.memory(blob.size)?;
    bench.ok(&blob.request(&[]))?;
    bench.ok(&Request::attach_backing(1, &[memory]))
}

fn attached_twice(bench: &mut Bench<'_>) -> Outcome {
    let blob = guest(bench);
    let memory = bench.memory(blob.size)?;
    bench.ok(&blob.request(&[memory]))?;
    bench.refused(&Request::attach_backing(1, &[memory]))
}

fn detached(bench: &mut Bench<'_>) -> Outcome {
    let blob = guest(bench);
    let memory = bench.memory(blob.size)?;
    bench.ok(&blob.request(&[memory]))?;
    bench.ok(&Request::detach_backing(1))?;
    bench.ok(&Request::attach_backing(1, &[memory]))
}

fn outside_ram(bench: &mut Bench<'_>) -> Outcome {
    let blob = guest(bench);
    let nowhere = Buffer {
        addr: GuestAddress(1 << 50),
        len: u32::try_from(blob.size).unwrap_or(0),
    };
    bench.refused(&blob.request(&[nowhere]))?;
    // No half of it stays.
    let memory = bench.memory(blob.size)?;
    bench.ok(&blob.request(&[memory]))
}

fn short(bench: &mut Bench<'_>) -> Outcome {
    let blob = guest(bench);
    let memory = bench.memory(blob.size / 2)?;
    bench.refused(&blob.request(&[memory]))
}

/// A device may take the number for guest memory that it does not have yet; the memory that
/// comes then cannot be as large.
fn overflows(bench: &mut Bench<'_>) -> Outcome {
    let blob = Blob {
        size: OVERFLOWS,
        ..guest(bench)
    };
    let memory = bench.memory(PAGE)?;
    if bench.answered(&blob.request(&[]))? {
        bench.note("no memory is there yet");
        bench.refused(&Request::attach_backing(1, &[memory]))?;
    }
    Ok(())
}

/// The device's own alignment counts, which may be less than a page.
fn aligned(bench: &mut Bench<'_>) -> Outcome {
    let config = bench.facts().config;
    let alignment = config.map_or(1, |config| config.blob_alignment);
    if alignment == 1 {
        let reason = "every size is a multiple of the blob_alignment of 1";
        return Err(Failure::Unsupported(reason.to_owned()));
    }
    let size = 5 * alignment;
    refused(bench, |blob| blob.size = size + 1)?;
    refused(bench, |blob| blob.size = size - 1)?;
    let blob = Blob {
        size,
        ..guest(bench)
    };
    bench.ok(&blob.request(&[]))
}

fn miscounted(bench: &mut Bench<'_>) -> Outcome {
    let blob = guest(bench);
    let memory = bench.memory(blob.size)?;
    let whole = blob.request(&[memory, memory]).to_bytes();
    let cut = whole.get(..whole.len() - 8).unwrap_or_default();
    let answer = bench.raw(crate::driver::QueueKind::Control, cut, 24)?;
    bench.expect_error(&answer)
}

/// `blob_id` has no meaning there, and the standard does not say whether it is looked at.
fn blob_id_of_guest(bench: &mut Bench<'_>) -> Outcome {
    let blob = Blob {
        blob_id: 5,
        ..guest(bench)
    };
    let memory = bench.memory(blob.size)?;
    bench.left_open(&blob.request(&[memory]))
}

fn host_flags(bench: &mut Bench<'_>, flags: u32) -> Outcome {
    bench.context(1)?;
    let mut blob = bench.host_blob(1, 1, bench.facts().blob_alignment());
    blob.flags = flags;
    bench.create_if_possible(&blob)?;
    bench.ok(&Request::ctx_attach(1, 1))?;
    bench.ok(&Request::unref(1))?;
    bench.ok(&Request::ctx_destroy(1))
}

fn host_then_destroy(bench: &mut Bench<'_>) -> Outcome {
    bench.context(1)?;
    let blob = bench.host_blob(1, 1, bench.facts().blob_alignment());
    bench.ok(&blob.request(&[]))?;
    bench.ok(&Request::ctx_destroy(1))?;
    // The resource is the guest's until it says otherwise.
    bench.refused(&blob.request(&[]))?;
    bench.ok(&Request::unref(1))
}

/// Entries are for the other kinds of memory; the standard does not say that they are an error.
fn host_with_entries(bench: &mut Bench<'_>) -> Outcome {
    bench.context(1)?;
    let blob = bench.host_blob(1, 1, bench.facts().blob_alignment());
    let memory = bench.memory(blob.size)?;
    bench.left_open(&blob.request(&[memory]))
}

/// A renderer may have no such blobs, if it says so.
fn both_memories(bench: &mut Bench<'_>) -> Outcome {
    bench.context(1)?;
    let mut blob = bench.host_blob(1, 1, bench.facts().blob_alignment());
    blob.mem = HOST3D_GUEST;
    let memory = bench.memory(blob.size)?;
    bench.left_open(&blob.request(&[memory]))
}
