//! Stop and resume: a virtual machine that is paused keeps everything. The rings go on where
//! GET_VRING_BASE left them.

use coherd_protocol::gpu::Features;

use crate::conformance::bench::Bench;
use crate::conformance::case::{Group, Need, Outcome};
use crate::conformance::codes;
use crate::conformance::failure::ensure;
use crate::conformance::mapping::{CTX, blobs, expect_bytes, map, write_bytes};
use crate::conformance::picture::{Picture, pattern};
use crate::driver::Request;

pub(super) fn group() -> Group {
    Group::new("stop", "vhost-user")
        .case("resources-and-pixels-stay", |bench| {
            let picture = Picture::new(bench, 1, 64, 64)?;
            let pixels = pattern(6, picture.len());
            picture.fill(bench, &pixels)?;
            bench.ok(&Request::transfer_to_host_2d(1, picture.whole(), 0))?;
            pause(bench)?;
            picture.expect(bench, &pixels)?;
            bench.ok(&Request::unref(1))
        })
        .case("backing-stays", |bench| {
            let picture = Picture::new(bench, 1, 64, 64)?;
            let pixels = pattern(8, picture.len());
            picture.fill(bench, &pixels)?;
            pause(bench)?;
            bench.ok(&Request::transfer_to_host_2d(1, picture.whole(), 0))?;
            picture.expect(bench, &pixels)
        })
        .case("base-is-the-number-of-chains-taken", base)
        .case("commands-sent-meanwhile-are-answered", meanwhile)
        .case("10-times-in-a-row", |bench| {
            Picture::new(bench, 1, 64, 64)?;
            for _ in 0..10 {
                pause(bench)?;
            }
            bench.ok(&Request::unref(1))
        })
        .needs(&[Need::Device(Features::VIRGL), Need::Capset])
        .case("contexts-stay", |bench| {
            bench.context(1)?;
            pause(bench)?;
            bench.ok(&Request::submit_3d(1, &[]))?;
            bench.ok(&Request::ctx_destroy(1))
        })
        .needs(&[
            Need::Device(Features::RESOURCE_BLOB),
            Need::Window,
            Need::HostBlob,
        ])
        .case("mappings-stay", |bench| {
            blobs(bench, &[1])?;
            map(bench, 1, 0)?;
            write_bytes(bench, 0, 4)?;
            pause(bench)?;
            expect_bytes(bench, 0, 4)?;
            bench.ok(&Request::unmap_blob(1))?;
            bench.ok(&Request::unref(1))?;
            bench.ok(&Request::ctx_destroy(CTX))
        })
}

fn pause(bench: &mut Bench<'_>) -> Outcome {
    let bases = bench.frontend.stop()?;
    Ok(bench.frontend.resume(&bases)?)
}

fn base(bench: &mut Bench<'_>) -> Outcome {
    for _ in 0..7 {
        bench.alive()?;
    }
    let bases = bench.frontend.stop()?;
    bench.frontend.resume(&bases)?;
    ensure(bases == [7, 0], || {
        format!("bases {bases:?} after 7 chains")
    })
}

fn meanwhile(bench: &mut Bench<'_>) -> Outcome {
    let picture = Picture::new(bench, 1, 64, 64)?;
    let bases = bench.frontend.stop()?;
    let request = Request::flush(1, picture.whole());
    let token = bench.send(&request, 0)?;
    bench.frontend.resume(&bases)?;
    // As VMMs do: a kick while the device was stopped may have gone nowhere.
    for ring in bench.frontend.rings() {
        ring.kick()?;
    }
    let answer = bench.wait(token, "RESOURCE_FLUSH")?;
    ensure(answer.code() == codes::OK_NODATA, || {
        codes::response(answer.code())
    })
}
