//! SUBMIT_3D. The command stream is opaque, so that only an empty one means the same everywhere.

use coherd_protocol::gpu::Features;

use crate::conformance::bench::Bench;
use crate::conformance::case::{Group, Need, Outcome};
use crate::conformance::codes::INVALID_CONTEXT_ID;
use crate::driver::Request;

pub(super) fn group() -> Group {
    let virgl = Need::Device(Features::VIRGL);
    Group::new("submit", "5.7.6.9")
        .needs(&[virgl])
        .case("to-unknown-context", |bench| {
            bench.refused_as(&Request::submit_3d(7, &[0; 16]), INVALID_CONTEXT_ID)
        })
        .case("to-context-0", |bench| {
            bench.refused(&Request::submit_3d(0, &[0; 16]))
        })
        .case("to-destroyed-context", |bench| {
            bench.ok(&Request::ctx_create(1, 0, "short"))?;
            bench.ok(&Request::ctx_destroy(1))?;
            bench.refused_as(&Request::submit_3d(1, &[0; 16]), INVALID_CONTEXT_ID)
        })
        .needs(&[virgl, Need::Capset])
        .case("nothing", |bench| {
            bench.context(1)?;
            bench.ok(&Request::submit_3d(1, &[]))
        })
        .case("more-told-than-sent", |bench| sized(bench, 32))
        .case("2-to-the-32-bytes-told", |bench| sized(bench, u32::MAX))
        .case("size-that-is-no-multiple-of-4", |bench| {
            bench.context(1)?;
            bench.refused(&Request::submit_3d(1, &[0; 7]))
        })
        .implied()
        .case("less-told-than-sent", less)
        .case("garbage-ends-no-other-context", garbage)
}

fn sized(bench: &mut Bench<'_>, size: u32) -> Outcome {
    bench.context(1)?;
    bench.refused(&Request::submit_3d_sized(1, size, &[0; 16]))
}

/// What is told counts, and no command says what the rest is.
fn less(bench: &mut Bench<'_>) -> Outcome {
    bench.context(1)?;
    bench.left_open(&Request::submit_3d_sized(1, 0, &[0; 16]))
}

fn garbage(bench: &mut Bench<'_>) -> Outcome {
    bench.context(1)?;
    bench.context(2)?;
    bench.answered(&Request::submit_3d(1, &[0xff; 64]))?;
    bench.ok(&Request::submit_3d(2, &[]))?;
    bench.answered(&Request::submit_3d(1, &[]))?;
    bench.ok(&Request::ctx_destroy(1))?;
    bench.ok(&Request::ctx_destroy(2))
}
