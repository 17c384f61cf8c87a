//! RESOURCE_CREATE_3D and the 3D transfers. Their structures are in the Linux uapi header only.

use coherd_protocol::gpu::wire::{ResourceCreate3d, Transfer3d};
use coherd_protocol::gpu::{Features, Format};

use crate::conformance::bench::Bench;
use crate::conformance::case::{Group, Need, Outcome};
use crate::conformance::codes::{INVALID_CONTEXT_ID, INVALID_RESOURCE_ID};
use crate::conformance::failure::{Failure, ensure};
use crate::conformance::picture::{Picture, pattern, rect};
use crate::driver::Request;

/// Pixels of the resource.
const SIDE: u32 = 32;

pub(super) fn group() -> Group {
    let virgl = Need::Device(Features::VIRGL);
    Group::new("3d", "linux uapi")
        .needs(&[virgl])
        .case("create-texture", |bench| {
            created(bench)?;
            bench.ok(&Request::unref(1))
        })
        .case("create-with-id-0", |bench| {
            bench.refused(&Request::create_3d(&texture(0, SIDE)))
        })
        .case("create-with-the-id-of-another", |bench| {
            Picture::new(bench, 1, SIDE, SIDE)?;
            bench.refused(&Request::create_3d(&texture(1, SIDE)))
        })
        .case("create-with-unknown-target", |bench| {
            let odd = ResourceCreate3d {
                target: 77.into(),
                ..texture(1, SIDE)
            };
            bench.refused(&Request::create_3d(&odd))
        })
        .case("create-larger-than-any-host", |bench| {
            bench.refused(&Request::create_3d(&texture(1, u32::MAX)))
        })
        .case("texture-keeps-what-is-transferred", round_trip)
        .case("transfer-to-host-of-a-2d-resource", to_host)
        .case("transfer-from-host-of-a-2d-resource", from_host)
        .case("transfer-of-unknown-resource", |bench| {
            bench.ok(&Request::ctx_create(1, 0, "transfers"))?;
            both(bench, 1, |bench, request| {
                bench.refused_as(request, INVALID_RESOURCE_ID)
            })
        })
        .case("transfer-in-unknown-context", |bench| {
            Picture::new(bench, 1, SIDE, SIDE)?;
            both(bench, 7, |bench, request| {
                bench.refused_as(request, INVALID_CONTEXT_ID)
            })
        })
        .case("transfer-beyond-the-resource", beyond)
        .case("transfer-without-backing", without_backing)
}

/// A texture of `side` by `side` pixels.
pub(super) fn texture(resource_id: u32, side: u32) -> ResourceCreate3d {
    ResourceCreate3d {
        resource_id: resource_id.into(),
        // PIPE_TEXTURE_2D, to be rendered to.
        target: 2.into(),
        format: (Format::B8G8R8X8 as u32).into(),
        bind: 2.into(),
        width: side.into(),
        height: side.into(),
        depth: 1.into(),
        array_size: 1.into(),
        last_level: 0.into(),
        nr_samples: 0.into(),
        flags: 0.into(),
        padding: 0.into(),
    }
}

/// Texture 1; a device whose renderer has no such resources says so with an error.
fn created(bench: &mut Bench<'_>) -> Outcome {
    if bench.answered(&Request::create_3d(&texture(1, SIDE)))? {
        return Ok(());
    }
    let reason = "RESOURCE_CREATE_3D is refused, as a renderer may that has no such resources";
    Err(Failure::Unsupported(reason.to_owned()))
}

/// A picture of a resource of context 1, created before.
pub(super) fn in_context(bench: &mut Bench<'_>) -> Result<Picture, Failure> {
    let picture = Picture::new(bench, 1, SIDE, SIDE)?;
    bench.ok(&Request::ctx_create(1, 0, "transfers"))?;
    bench.ok(&Request::ctx_attach(1, 1))?;
    Ok(picture)
}

fn round_trip(bench: &mut Bench<'_>) -> Outcome {
    created(bench)?;
    let pixels = pattern(7, SIDE * SIDE * 4);
    let memory = bench.gpu.buffer(&pixels)?;
    let texture = Picture {
        id: 1,
        width: SIDE,
        height: SIDE,
        backing: vec![memory],
    };
    bench.ok(&Request::attach_backing(1, &[memory]))?;
    bench.context(1)?;
    bench.ok(&Request::ctx_attach(1, 1))?;
    let whole = texture.transfer(texture.whole(), 0);
    bench.ok(&Request::transfer_to_host_3d(1, &whole))?;
    texture.fill(bench, &vec![0; pixels.len()])?;
    bench.ok(&Request::transfer_from_host_3d(1, &whole))?;
    let back = bench.gpu.read_buffer(memory)?;
    ensure(back == pixels, || "other bytes came back".to_owned())
}

/// A device may keep 2D resources away from contexts, if it says so.
fn to_host(bench: &mut Bench<'_>) -> Outcome {
    let picture = in_context(bench)?;
    let pixels = pattern(7, picture.len());
    picture.fill(bench, &pixels)?;
    let whole = picture.transfer(picture.whole(), 0);
    if bench.answered(&Request::transfer_to_host_3d(1, &whole))? {
        picture.expect(bench, &pixels)?;
    }
    Ok(())
}

fn from_host(bench: &mut Bench<'_>) -> Outcome {
    let picture = in_context(bench)?;
    let pixels = pattern(7, picture.len());
    picture.fill(bench, &pixels)?;
    bench.ok(&Request::transfer_to_host_2d(1, picture.whole(), 0))?;
    picture.fill(bench, &vec![0; pixels.len()])?;
    let area = picture.transfer(rect(0, 8, SIDE, 8), 0);
    if !bench.answered(&Request::transfer_from_host_3d(1, &area))? {
        return Ok(());
    }
    let back = bench.gpu.read_buffer(picture.backing[0])?;
    let (row, rows) = ((SIDE * 4) as usize, 8);
    let expected = &pixels[rows * row..2 * rows * row];
    ensure(back.starts_with(expected), || {
        "other pixels came back".to_owned()
    })?;
    ensure(back[rows * row..].iter().all(|byte| *byte == 0), || {
        "more came back than was asked for".to_owned()
    })
}

/// Both transfers of resource 1 in `ctx_id`.
fn both(
    bench: &mut Bench<'_>,
    ctx_id: u32,
    check: impl Fn(&mut Bench<'_>, &Request) -> Outcome,
) -> Outcome {
    let picture = Picture {
        id: 1,
        width: SIDE,
        height: SIDE,
        backing: Vec::new(),
    };
    let whole = picture.transfer(picture.whole(), 0);
    check(bench, &Request::transfer_to_host_3d(ctx_id, &whole))?;
    check(bench, &Request::transfer_from_host_3d(ctx_id, &whole))
}

fn beyond(bench: &mut Bench<'_>) -> Outcome {
    let picture = in_context(bench)?;
    let whole = picture.transfer(picture.whole(), 0);
    let areas = [
        picture.transfer(rect(1, 0, SIDE, SIDE), 0),
        picture.transfer(rect(u32::MAX, 0, 2, 1), 0),
        picture.transfer(picture.whole(), u64::MAX - 3),
        Transfer3d {
            level: 9.into(),
            ..whole
        },
    ];
    for area in areas {
        bench.refused(&Request::transfer_to_host_3d(1, &area))?;
        bench.refused(&Request::transfer_from_host_3d(1, &area))?;
    }
    Ok(())
}

fn without_backing(bench: &mut Bench<'_>) -> Outcome {
    in_context(bench)?;
    bench.ok(&Request::detach_backing(1))?;
    both(bench, 1, |bench, request| bench.refused(request))
}
