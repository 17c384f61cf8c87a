//! Reset: what the driver had is gone, and a new driver finds a new device. vhost-user has no
//! word for it that every VMM says: rings are stopped, and start again at 0.

use coherd_protocol::gpu::Features;
use coherd_protocol::gpu::wire::DisplayOne;

use crate::conformance::bench::Bench;
use crate::conformance::case::{Group, Need, Outcome};
use crate::conformance::codes::{INVALID_CONTEXT_ID, INVALID_RESOURCE_ID};
use crate::conformance::mapping::{blobs, expect_bytes, expect_mapped, map, write_bytes};
use crate::conformance::picture::{FORMAT, Picture, expect_on_no_scanout};
use crate::driver::Request;

pub(super) fn group() -> Group {
    let virgl = Need::Device(Features::VIRGL);
    Group::new("reset", "2.4")
        .case("resources-are-gone", |bench| {
            Picture::new(bench, 1, 64, 64)?;
            bench.reset()?;
            bench.refused_as(&Request::unref(1), INVALID_RESOURCE_ID)
        })
        .case("ids-can-be-used-again", |bench| {
            for _ in 0..3 {
                Picture::new(bench, 1, 64, 64)?;
                bench.reset()?;
            }
            Ok(())
        })
        .case("scanouts-show-nothing", |bench| {
            let picture = Picture::new(bench, 1, 64, 64)?;
            bench.ok(&Request::set_scanout(0, 1, picture.whole()))?;
            bench.reset()?;
            let picture = Picture::new(bench, 1, 16, 16)?;
            expect_on_no_scanout(bench, &picture)
        })
        .case("display-is-the-same", |bench| {
            let len = 16 * size_of::<DisplayOne>();
            let before = bench.data(&Request::display_info(), 0x1101, len)?;
            bench.reset()?;
            let after = bench.data(&Request::display_info(), 0x1101, len)?;
            crate::conformance::failure::ensure(before == after, || "another display".to_owned())
        })
        .case("with-commands-in-flight", in_flight)
        .case("20-times-in-a-row", |bench| {
            for _ in 0..20 {
                bench.reset()?;
            }
            bench.alive()
        })
        .needs(&[virgl])
        .case("contexts-are-gone", |bench| {
            bench.ok(&Request::ctx_create(1, 0, "gone"))?;
            bench.reset()?;
            bench.refused_as(&Request::ctx_destroy(1), INVALID_CONTEXT_ID)?;
            bench.ok(&Request::ctx_create(1, 0, "new"))
        })
        .needs(&[virgl, Need::Capset])
        .case("contexts-that-render-are-gone", |bench| {
            bench.context(1)?;
            bench.reset()?;
            bench.refused_as(&Request::submit_3d(1, &[]), INVALID_CONTEXT_ID)?;
            bench.context(1)
        })
        .section("vhost-user")
        .needs(&[
            Need::Device(Features::RESOURCE_BLOB),
            Need::Window,
            Need::HostBlob,
        ])
        .case("mappings-are-gone-and-ranges-free", |bench| {
            blobs(bench, &[1])?;
            map(bench, 1, 0)?;
            write_bytes(bench, 0, 1)?;
            bench.reset()?;
            expect_mapped(bench, &[])?;
            blobs(bench, &[1])?;
            map(bench, 1, 0)?;
            write_bytes(bench, 0, 2)?;
            expect_bytes(bench, 0, 2)
        })
}

/// Whatever became of them, they trouble no new driver.
fn in_flight(bench: &mut Bench<'_>) -> Outcome {
    for _ in 0..5 {
        for id in 1..=50 {
            bench.send(&Request::create_2d(id, FORMAT, 64, 64), 0)?;
        }
        bench.reset()?;
        bench.ok(&Request::create_2d(1, FORMAT, 64, 64))?;
        bench.reset()?;
    }
    Ok(())
}
