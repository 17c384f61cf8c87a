//! TRANSFER_TO_HOST_2D. Whether bytes were copied is seen by a transfer back or on the display
//! socket; where the backend has neither, the answer is all there is, and the report says so.

use crate::conformance::bench::Bench;
use crate::conformance::case::{Group, Outcome};
use crate::conformance::codes::INVALID_RESOURCE_ID;
use crate::conformance::failure::Failure;
use crate::conformance::picture::{FORMAT, PIXEL, Picture, pattern, rect};
use crate::driver::{PAGE, Request};

/// Pixels of the resource.
const WIDTH: u32 = 48;
const HEIGHT: u32 = 40;

pub(super) fn group() -> Group {
    Group::new("transfer-2d", "5.7.6.8")
        .case("whole", whole)
        .case("rectangle-takes-the-stride-of-the-resource", rectangle)
        .case("rows-of-full-width", rows)
        .case("last-pixel", last_pixel)
        .case("offset-is-free-of-the-rectangle", other_offset)
        .case("overwrites", overwrites)
        .case("without-backing", without_backing)
        .case("after-detach", after_detach)
        .case("unknown-resource", |bench| {
            let request = Request::transfer_to_host_2d(9, rect(0, 0, 1, 1), 0);
            bench.refused_as(&request, INVALID_RESOURCE_ID)
        })
        .case("wider-than-the-resource", |bench| {
            refuses(bench, [0, 0, WIDTH + 1, 1], 0)
        })
        .case("higher-than-the-resource", |bench| {
            refuses(bench, [0, 0, 1, HEIGHT + 1], 0)
        })
        .case("begins-outside", |bench| {
            refuses(bench, [WIDTH, 0, 1, 1], 0)
        })
        .case("x-plus-width-overflows", |bench| {
            refuses(bench, [u32::MAX, 0, 2, 1], 0)
        })
        .case("y-plus-height-overflows", |bench| {
            refuses(bench, [0, u32::MAX, 1, 2], 0)
        })
        .case("offset-past-the-backing", |bench| {
            refuses(bench, [0, 0, 1, 1], u64::from(WIDTH * HEIGHT * PIXEL))
        })
        .case("offset-leaves-too-few-bytes", |bench| {
            refuses(bench, [0, 0, WIDTH, HEIGHT], 4)
        })
        .case("offset-overflows", |bench| {
            refuses(bench, [0, 0, WIDTH, HEIGHT], u64::MAX - 3)
        })
        .case("backing-too-short", short_backing)
        .case("empty-rectangle", |bench| {
            Picture::new(bench, 1, WIDTH, HEIGHT)?;
            let empty = Request::transfer_to_host_2d(1, rect(0, 0, 0, 0), 0);
            bench.left_open(&empty)
        })
}

/// A picture whose pixels the host has.
fn transferred(bench: &mut Bench<'_>) -> Result<(Picture, Vec<u8>), Failure> {
    let picture = Picture::new(bench, 1, WIDTH, HEIGHT)?;
    let pixels = pattern(1, picture.len());
    picture.fill(bench, &pixels)?;
    bench.ok(&Request::transfer_to_host_2d(1, picture.whole(), 0))?;
    Ok((picture, pixels))
}

fn whole(bench: &mut Bench<'_>) -> Outcome {
    let (picture, pixels) = transferred(bench)?;
    picture.expect(bench, &pixels)
}

/// Transfers an area of new pixels from `offset`; the host has them there and nowhere else.
fn part(bench: &mut Bench<'_>, [x, y, width, height]: [u32; 4], offset: u32) -> Outcome {
    let (picture, mut expected) = transferred(bench)?;
    let fresh = pattern(101, picture.len());
    picture.fill(bench, &fresh)?;
    let area = rect(x, y, width, height);
    bench.ok(&Request::transfer_to_host_2d(1, area, offset.into()))?;
    for row in 0..height {
        let from = (offset + row * WIDTH * PIXEL) as usize;
        let to = (((y + row) * WIDTH + x) * PIXEL) as usize;
        let len = (width * PIXEL) as usize;
        expected[to..to + len].copy_from_slice(&fresh[from..from + len]);
    }
    picture.expect(bench, &expected)
}

/// Where a pixel lies in a backing that looks like the resource.
fn at(x: u32, y: u32) -> u32 {
    (y * WIDTH + x) * PIXEL
}

fn rectangle(bench: &mut Bench<'_>) -> Outcome {
    part(bench, [7, 9, 20, 11], at(7, 9))
}

fn rows(bench: &mut Bench<'_>) -> Outcome {
    part(bench, [0, 9, WIDTH, 5], at(0, 9))
}

fn last_pixel(bench: &mut Bench<'_>) -> Outcome {
    let (x, y) = (WIDTH - 1, HEIGHT - 1);
    part(bench, [x, y, 1, 1], at(x, y))
}

fn other_offset(bench: &mut Bench<'_>) -> Outcome {
    part(bench, [20, 20, 10, 10], at(3, 1))
}

fn overwrites(bench: &mut Bench<'_>) -> Outcome {
    part(bench, [0, 0, WIDTH, HEIGHT], 0)
}

fn without_backing(bench: &mut Bench<'_>) -> Outcome {
    bench.ok(&Request::create_2d(1, FORMAT, WIDTH, HEIGHT))?;
    bench.refused(&Request::transfer_to_host_2d(1, rect(0, 0, 1, 1), 0))
}

fn after_detach(bench: &mut Bench<'_>) -> Outcome {
    let picture = Picture::new(bench, 1, WIDTH, HEIGHT)?;
    bench.ok(&Request::detach_backing(1))?;
    bench.refused(&Request::transfer_to_host_2d(1, picture.whole(), 0))
}

fn refuses(bench: &mut Bench<'_>, [x, y, width, height]: [u32; 4], offset: u64) -> Outcome {
    Picture::new(bench, 1, WIDTH, HEIGHT)?;
    let area = rect(x, y, width, height);
    bench.refused(&Request::transfer_to_host_2d(1, area, offset))
}

fn short_backing(bench: &mut Bench<'_>) -> Outcome {
    let page = bench.memory(PAGE)?;
    bench.ok(&Request::create_2d(1, FORMAT, WIDTH, HEIGHT))?;
    bench.ok(&Request::attach_backing(1, &[page]))?;
    bench.refused(&Request::transfer_to_host_2d(
        1,
        rect(0, 0, WIDTH, HEIGHT),
        0,
    ))
}
