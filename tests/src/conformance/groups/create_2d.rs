//! RESOURCE_CREATE_2D.

use coherd_protocol::gpu::Format;

use crate::conformance::bench::Bench;
use crate::conformance::case::{Group, Outcome};
use crate::conformance::picture::{FORMAT, Picture, pattern};
use crate::driver::Request;

/// So many resources at a time must be no problem.
const MANY: u32 = 500;

pub(super) fn group() -> Group {
    let formats = Format::ALL.into_iter();
    formats
        .fold(Group::new("create-2d", "5.7.6.8"), |group, format| {
            let name = format!("format-{format:?}").to_lowercase();
            group.case(name, move |bench| {
                bench.ok(&Request::create_2d(1, format as u32, 64, 64))
            })
        })
        .case("format-0", |bench| refuses(bench, [1, 0, 64, 64]))
        .case("format-between-the-known", |bench| {
            refuses(bench, [1, 100, 64, 64])
        })
        .case("format-beyond-the-known", |bench| {
            refuses(bench, [1, u32::MAX, 64, 64])
        })
        .case("one-pixel", |bench| {
            bench.ok(&Request::create_2d(1, FORMAT, 1, 1))
        })
        .case("odd-dimensions", |bench| {
            bench.ok(&Request::create_2d(1, FORMAT, 1023, 517))
        })
        .case("width-0", |bench| refuses(bench, [1, FORMAT, 0, 64]))
        .case("height-0", |bench| refuses(bench, [1, FORMAT, 64, 0]))
        .case("size-that-no-host-has", |bench| {
            refuses(bench, [1, FORMAT, u32::MAX, u32::MAX])
        })
        .case("size-that-overflows-32-bits", |bench| {
            refuses(bench, [1, FORMAT, 0x8001, 0x8000_0001])
        })
        .case("id-0", |bench| refuses(bench, [0, FORMAT, 64, 64]))
        .implied()
        .case("id-of-another-resource", id_twice)
        .case("id-may-be-any-other", |bench| {
            bench.ok(&Request::create_2d(u32::MAX, FORMAT, 64, 64))
        })
        .case("many-resources", many)
}

fn refuses(bench: &mut Bench<'_>, [id, format, width, height]: [u32; 4]) -> Outcome {
    bench.refused(&Request::create_2d(id, format, width, height))
}

/// The first resource stays what it is.
fn id_twice(bench: &mut Bench<'_>) -> Outcome {
    let picture = Picture::new(bench, 1, 32, 16)?;
    let pixels = pattern(1, picture.len());
    picture.fill(bench, &pixels)?;
    bench.refused(&Request::create_2d(1, FORMAT, 8, 8))?;
    bench.ok(&Request::transfer_to_host_2d(1, picture.whole(), 0))?;
    picture.expect(bench, &pixels)
}

fn many(bench: &mut Bench<'_>) -> Outcome {
    for id in 1..=MANY {
        bench.ok(&Request::create_2d(id, FORMAT, 16, 16))?;
    }
    for id in (1..=MANY).rev() {
        bench.ok(&Request::unref(id))?;
    }
    Ok(())
}
