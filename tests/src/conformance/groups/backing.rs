//! RESOURCE_ATTACH_BACKING and RESOURCE_DETACH_BACKING.

use vm_memory::GuestAddress;

use crate::conformance::bench::Bench;
use crate::conformance::case::{Group, Need, Outcome};
use crate::conformance::codes::INVALID_RESOURCE_ID;
use crate::conformance::failure::Failure;
use crate::conformance::picture::{FORMAT, Picture, pattern};
use crate::driver::{Buffer, PAGE, Request, Shape};
use virtio_bindings::virtio_ring::VIRTIO_RING_F_INDIRECT_DESC;

pub(super) fn group() -> Group {
    Group::new("backing", "5.7.6.8")
        .case("attach", |bench| attached(bench).map(drop))
        .case("attach-detach-attach", again)
        .case("attach-twice", twice)
        .implied()
        .case("attach-to-unknown-resource", attach_unknown)
        .case("attach-without-entries", no_entries)
        .case("detach-unknown-resource", |bench| {
            bench.refused_as(&Request::detach_backing(1), INVALID_RESOURCE_ID)
        })
        .case("detach-none", detach_none)
        .implied()
        .case("detach-twice", detach_twice)
        .implied()
        .case("same-pages-in-two-resources", shared_pages)
        .case("a-page-an-entry", |bench| pieces(bench, 4096))
        .case("entries-that-end-inside-a-pixel", |bench| pieces(bench, 6))
        .case("4096-entries", many_entries)
        .section("2.7.5.3")
        .needs(&[Need::Ring(VIRTIO_RING_F_INDIRECT_DESC, "INDIRECT_DESC")])
        .case("entries-over-an-indirect-chain", indirect)
        .section("5.7.6.8")
        .needs(&[])
        .case("entry-outside-ram", |bench| bad_entry(bench, 1 << 50, 4096))
        .case("entry-that-leaves-ram", entry_leaves_ram)
        .case("entry-that-wraps-around", |bench| {
            bad_entry(bench, u64::MAX - 4095, 8192)
        })
        .case("fewer-entries-than-told", |bench| miscounted(bench, 3))
        .case("2-to-the-32-entries-told", |bench| {
            miscounted(bench, u32::MAX)
        })
}

/// A resource of one page with that page attached.
fn attached(bench: &mut Bench<'_>) -> Result<Buffer, Failure> {
    let page = bench.memory(PAGE)?;
    bench.ok(&Request::create_2d(1, FORMAT, 32, 32))?;
    bench.ok(&Request::attach_backing(1, &[page]))?;
    Ok(page)
}

fn again(bench: &mut Bench<'_>) -> Outcome {
    let page = attached(bench)?;
    bench.ok(&Request::detach_backing(1))?;
    bench.ok(&Request::attach_backing(1, &[page]))
}

fn twice(bench: &mut Bench<'_>) -> Outcome {
    let page = attached(bench)?;
    bench.refused(&Request::attach_backing(1, &[page]))
}

fn attach_unknown(bench: &mut Bench<'_>) -> Outcome {
    let page = bench.memory(PAGE)?;
    bench.refused_as(&Request::attach_backing(1, &[page]), INVALID_RESOURCE_ID)
}

/// The standard does not say whether none are a backing.
fn no_entries(bench: &mut Bench<'_>) -> Outcome {
    bench.ok(&Request::create_2d(1, FORMAT, 32, 32))?;
    bench.left_open(&Request::attach_backing(1, &[]))
}

fn detach_none(bench: &mut Bench<'_>) -> Outcome {
    bench.ok(&Request::create_2d(1, FORMAT, 32, 32))?;
    bench.refused(&Request::detach_backing(1))
}

fn detach_twice(bench: &mut Bench<'_>) -> Outcome {
    attached(bench)?;
    bench.ok(&Request::detach_backing(1))?;
    bench.refused(&Request::detach_backing(1))
}

fn shared_pages(bench: &mut Bench<'_>) -> Outcome {
    let page = attached(bench)?;
    bench.ok(&Request::create_2d(2, FORMAT, 32, 32))?;
    bench.ok(&Request::attach_backing(2, &[page]))?;
    bench.ok(&Request::unref(1))?;
    bench.ok(&Request::detach_backing(2))
}

fn pieces(bench: &mut Bench<'_>, piece: u32) -> Outcome {
    let picture = Picture::in_pieces(bench, 1, 61, 35, piece)?;
    let pixels = pattern(3, picture.len());
    picture.fill(bench, &pixels)?;
    bench.ok(&Request::transfer_to_host_2d(1, picture.whole(), 0))?;
    picture.expect(bench, &pixels)
}

/// 16 MiB of one page over and over, in a request of 64 KiB.
fn many_entries(bench: &mut Bench<'_>) -> Outcome {
    let page = bench.memory(PAGE)?;
    bench.ok(&Request::create_2d(1, FORMAT, 2048, 2048))?;
    bench.ok(&Request::attach_backing(1, &[page; 4096]))?;
    bench.ok(&Request::detach_backing(1))
}

fn indirect(bench: &mut Bench<'_>) -> Outcome {
    bench.gpu.set_shape(Shape {
        indirect: true,
        piece: 100,
    });
    pieces(bench, 300)
}

fn bad_entry(bench: &mut Bench<'_>, addr: u64, len: u32) -> Outcome {
    bench.ok(&Request::create_2d(1, FORMAT, 32, 32))?;
    let good = bench.memory(PAGE)?;
    let bad = Buffer {
        addr: GuestAddress(addr),
        len,
    };
    bench.refused(&Request::attach_backing(1, &[good, bad]))?;
    // Nothing of it was kept.
    bench.ok(&Request::attach_backing(1, &[good]))
}

/// The last page of RAM, and one more.
fn entry_leaves_ram(bench: &mut Bench<'_>) -> Outcome {
    use vm_memory::GuestMemoryBackend;

    let last = bench.gpu.memory().last_addr().0;
    bad_entry(bench, last + 1 - PAGE, 8192)
}

fn miscounted(bench: &mut Bench<'_>, count: u32) -> Outcome {
    bench.ok(&Request::create_2d(1, FORMAT, 32, 32))?;
    let page = bench.memory(PAGE)?;
    bench.refused(&Request::attach_backing_counted(1, count, &[page, page]))
}
