//! RESOURCE_FLUSH. What it shows is seen on the display socket, where the backend has one;
//! elsewhere the answer is all there is.

use crate::conformance::bench::Bench;
use crate::conformance::case::{Group, Outcome};
use crate::conformance::codes::INVALID_RESOURCE_ID;
use crate::conformance::failure::{Failure, ensure};
use crate::conformance::picture::{PIXEL, Picture, expect_on_no_scanout, pattern, rect, updated};
use crate::driver::Request;

/// Pixels of the resource.
const SIDE: u32 = 64;

pub(super) fn group() -> Group {
    Group::new("flush", "5.7.6.8")
        .case("whole", |bench| shows(bench, [0, 0, SIDE, SIDE]))
        .case("part", |bench| shows(bench, [8, 16, 24, 32]))
        .case("resource-that-nothing-shows", |bench| {
            let picture = Picture::new(bench, 1, SIDE, SIDE)?;
            bench.ok(&Request::flush(1, picture.whole()))
        })
        .case("after-the-scanout-was-disabled", after_disable)
        .case("unknown-resource", |bench| {
            let request = Request::flush(9, rect(0, 0, 1, 1));
            bench.refused_as(&request, INVALID_RESOURCE_ID)
        })
        .case("rectangle-outside", |bench| {
            refuses(bench, [1, 0, SIDE, SIDE])
        })
        .case("x-plus-width-overflows", |bench| {
            refuses(bench, [u32::MAX, 0, 2, 1])
        })
        .case("y-plus-height-overflows", |bench| {
            refuses(bench, [0, u32::MAX, 1, 2])
        })
}

/// A picture with pixels, on scanout 0.
fn shown(bench: &mut Bench<'_>) -> Result<(Picture, Vec<u8>), Failure> {
    let picture = Picture::new(bench, 1, SIDE, SIDE)?;
    let pixels = pattern(5, picture.len());
    picture.fill(bench, &pixels)?;
    bench.ok(&Request::transfer_to_host_2d(1, picture.whole(), 0))?;
    bench.ok(&Request::set_scanout(0, 1, picture.whole()))?;
    Ok((picture, pixels))
}

fn shows(bench: &mut Bench<'_>, [x, y, width, height]: [u32; 4]) -> Outcome {
    let (_, pixels) = shown(bench)?;
    let mark = bench.frontend.log().mark();
    bench.ok(&Request::flush(1, rect(x, y, width, height)))?;
    if !bench.frontend.has_display() {
        bench.note("picture cannot be seen");
        return Ok(());
    }
    let (area, seen) = updated(bench, mark)?;
    ensure(area == [0, x, y, width, height], || {
        format!("area {area:?} was updated")
    })?;
    let row = |y: u32| {
        let start = ((y * SIDE + x) * PIXEL) as usize;
        &pixels[start..start + (width * PIXEL) as usize]
    };
    let expected: Vec<u8> = (y..y + height).flat_map(row).copied().collect();
    let colours = |bytes: &[u8]| -> Vec<u8> {
        let pixels = bytes.chunks_exact(4);
        pixels.flat_map(|pixel| pixel[..3].to_vec()).collect()
    };
    ensure(colours(&seen) == colours(&expected), || {
        "other pixels are shown".to_owned()
    })
}

fn after_disable(bench: &mut Bench<'_>) -> Outcome {
    let (picture, _) = shown(bench)?;
    bench.ok(&Request::set_scanout(0, 0, rect(0, 0, 0, 0)))?;
    expect_on_no_scanout(bench, &picture)
}

fn refuses(bench: &mut Bench<'_>, [x, y, width, height]: [u32; 4]) -> Outcome {
    shown(bench)?;
    bench.refused(&Request::flush(1, rect(x, y, width, height)))
}
