//! SET_SCANOUT_BLOB.

use coherd_protocol::gpu::Features;
use coherd_protocol::gpu::wire::SetScanoutBlob;

use crate::conformance::bench::Bench;
use crate::conformance::case::{Group, Need, Outcome};
use crate::conformance::codes::{INVALID_RESOURCE_ID, INVALID_SCANOUT_ID};
use crate::conformance::failure::Failure;
use crate::conformance::picture::{FORMAT, Picture, rect};
use crate::driver::{Blob, Request};

/// Pixels of the picture in the blob: 64 KiB, the largest of usual page sizes.
const SIDE: u32 = 128;

pub(super) fn group() -> Group {
    Group::new("scanout-blob", "5.7.6.8")
        .needs(&[Need::Device(Features::RESOURCE_BLOB)])
        .case("whole", |bench| accepts(bench, |_| {}))
        .case("part", |bench| {
            accepts(bench, |set| set.rect = rect(16, 16, 32, 32))
        })
        .case("wide-rows", |bench| {
            accepts(bench, |set| {
                set.height = (SIDE / 2).into();
                set.rect = rect(0, 0, SIDE, SIDE / 2);
                set.strides[0] = (SIDE * 8).into();
            })
        })
        .case("offset", |bench| {
            accepts(bench, |set| {
                set.height = (SIDE / 2).into();
                set.rect = rect(0, 0, SIDE, SIDE / 2);
                set.offsets[0] = (SIDE * SIDE * 2).into();
            })
        })
        .case("disable", |bench| {
            let mut set = picture();
            set.resource_id = 0.into();
            bench.ok(&Request::set_scanout_blob(&set))
        })
        .case("scanout-that-is-not-there", |bench| {
            let mut set = picture();
            set.scanout_id = bench.facts().scanouts().into();
            blob(bench)?;
            bench.refused_as(&Request::set_scanout_blob(&set), INVALID_SCANOUT_ID)
        })
        .case("unknown-resource", |bench| {
            bench.refused_as(&Request::set_scanout_blob(&picture()), INVALID_RESOURCE_ID)
        })
        .case("of-a-2d-resource", |bench| {
            Picture::new(bench, 1, SIDE, SIDE)?;
            bench.refused(&Request::set_scanout_blob(&picture()))
        })
        .case("format-0", |bench| {
            refuses(bench, |set| set.format = 0.into())
        })
        .case("unknown-format", |bench| {
            refuses(bench, |set| set.format = 100.into())
        })
        .case("stride-shorter-than-a-row", |bench| {
            refuses(bench, |set| set.strides[0] = (SIDE * 4 - 4).into())
        })
        .case("stride-0", |bench| {
            refuses(bench, |set| set.strides[0] = 0.into())
        })
        .case("rows-beyond-the-blob", |bench| {
            refuses(bench, |set| set.strides[0] = (SIDE * 8).into())
        })
        .case("offset-beyond-the-blob", |bench| {
            refuses(bench, |set| set.offsets[0] = u32::MAX.into())
        })
        .case("size-that-overflows", |bench| {
            refuses(bench, |set| {
                set.height = u32::MAX.into();
                set.strides[0] = u32::MAX.into();
            })
        })
        .case("rectangle-outside-the-picture", |bench| {
            refuses(bench, |set| set.rect = rect(1, 0, SIDE, SIDE))
        })
        .case("x-plus-width-overflows", |bench| {
            refuses(bench, |set| set.rect = rect(u32::MAX - 15, 0, 32, 32))
        })
        .case("picture-of-no-pixels", |bench| {
            refuses(bench, |set| {
                set.width = 0.into();
                set.height = 0.into();
                set.rect = rect(0, 0, 0, 0);
            })
        })
}

/// The picture that fills resource 1 of [`blob`].
pub(super) fn picture() -> SetScanoutBlob {
    SetScanoutBlob {
        rect: rect(0, 0, SIDE, SIDE),
        scanout_id: 0.into(),
        resource_id: 1.into(),
        width: SIDE.into(),
        height: SIDE.into(),
        format: FORMAT.into(),
        padding: 0.into(),
        strides: [(SIDE * 4).into(), 0.into(), 0.into(), 0.into()],
        offsets: [0.into(); 4],
    }
}

/// Resource 1, a blob of exactly the picture.
pub(super) fn blob(bench: &mut Bench<'_>) -> Outcome {
    let size = SIDE * SIDE * 4;
    let memory = bench.memory(size.into())?;
    let blob = Blob {
        resource_id: 1,
        mem: 1,
        flags: 2,
        size: size.into(),
        ..Blob::default()
    };
    bench.ok(&blob.request(&[memory]))
}

/// A device may be unable to show guest memory, if it says so.
fn accepts(bench: &mut Bench<'_>, change: impl FnOnce(&mut SetScanoutBlob)) -> Outcome {
    blob(bench)?;
    let mut set = picture();
    change(&mut set);
    if bench.answered(&Request::set_scanout_blob(&set))? {
        return bench.ok(&Request::flush(1, set.rect));
    }
    let reason = "the device does not show guest memory";
    Err(Failure::Unsupported(reason.to_owned()))
}

fn refuses(bench: &mut Bench<'_>, change: impl FnOnce(&mut SetScanoutBlob)) -> Outcome {
    blob(bench)?;
    let mut set = picture();
    change(&mut set);
    bench.refused(&Request::set_scanout_blob(&set))
}
