//! SET_SCANOUT. What is on the screen is seen on the display socket only, and its pixels in the
//! group `flush`.

use crate::conformance::bench::Bench;
use crate::conformance::case::{Group, Outcome};
use crate::conformance::codes::{INVALID_RESOURCE_ID, INVALID_SCANOUT_ID};
use crate::conformance::picture::{Picture, rect};
use crate::driver::Request;
use crate::frontend::Shown;

/// Pixels of the resource.
const SIDE: u32 = 128;

pub(super) fn group() -> Group {
    Group::new("scanout", "5.7.6.8")
        .case("whole-resource", |bench| accepts(bench, [0, 0, SIDE, SIDE]))
        .case("part-of-a-resource", |bench| {
            accepts(bench, [32, 16, 64, 64])
        })
        .case("disable", disable)
        .case("disable-what-is-disabled", |bench| {
            bench.ok(&Request::set_scanout(0, 0, rect(0, 0, 0, 0)))
        })
        .case("page-flip", flip)
        .case("same-resource-again", again)
        .case("scanout-that-is-not-there", |bench| {
            let scanout = bench.facts().scanouts();
            bad_scanout(bench, scanout)
        })
        .case("scanout-beyond-any-device", |bench| {
            bad_scanout(bench, u32::MAX)
        })
        .case("disable-scanout-that-is-not-there", |bench| {
            let request = Request::set_scanout(16, 0, rect(0, 0, 0, 0));
            bench.refused_as(&request, INVALID_SCANOUT_ID)
        })
        .case("unknown-resource", |bench| {
            let request = Request::set_scanout(0, 9, rect(0, 0, 64, 64));
            bench.refused_as(&request, INVALID_RESOURCE_ID)
        })
        .case("wider-than-the-resource", |bench| {
            refuses(bench, [0, 0, SIDE + 1, SIDE])
        })
        .case("begins-inside-and-ends-outside", |bench| {
            refuses(bench, [64, 64, 65, 64])
        })
        .case("x-plus-width-overflows", |bench| {
            refuses(bench, [u32::MAX - 31, 0, 64, 64])
        })
        .case("empty-rectangle", |bench| refuses(bench, [0, 0, 0, 0]))
}

fn set([x, y, width, height]: [u32; 4]) -> Request {
    Request::set_scanout(0, 1, rect(x, y, width, height))
}

fn accepts(bench: &mut Bench<'_>, area: [u32; 4]) -> Outcome {
    Picture::new(bench, 1, SIDE, SIDE)?;
    bench.ok(&set(area))
}

fn refuses(bench: &mut Bench<'_>, area: [u32; 4]) -> Outcome {
    Picture::new(bench, 1, SIDE, SIDE)?;
    bench.refused(&set(area))
}

fn disable(bench: &mut Bench<'_>) -> Outcome {
    accepts(bench, [0, 0, SIDE, SIDE])?;
    let mark = bench.frontend.log().mark();
    bench.ok(&Request::set_scanout(0, 0, rect(0, 0, 0, 0)))?;
    let off = Shown::Scanout { scanout: [0; 3] };
    bench.see_if_possible(mark, "scanout", |shown| *shown == off)
}

fn flip(bench: &mut Bench<'_>) -> Outcome {
    Picture::new(bench, 1, SIDE, SIDE)?;
    let other = Picture::new(bench, 2, SIDE, SIDE)?;
    for _ in 0..3 {
        bench.ok(&set([0, 0, SIDE, SIDE]))?;
        bench.ok(&Request::set_scanout(0, 2, other.whole()))?;
    }
    Ok(())
}

fn again(bench: &mut Bench<'_>) -> Outcome {
    accepts(bench, [0, 0, SIDE, SIDE])?;
    bench.ok(&set([0, 0, SIDE, SIDE]))?;
    bench.ok(&set([16, 16, 64, 64]))
}

fn bad_scanout(bench: &mut Bench<'_>, scanout: u32) -> Outcome {
    let picture = Picture::new(bench, 1, SIDE, SIDE)?;
    let request = Request::set_scanout(scanout, 1, picture.whole());
    bench.refused_as(&request, INVALID_SCANOUT_ID)
}
