//! CTX_CREATE, CTX_DESTROY, CTX_ATTACH_RESOURCE and CTX_DETACH_RESOURCE.

use coherd_protocol::gpu::Features;

use crate::conformance::bench::Bench;
use crate::conformance::case::{Group, Need, Outcome};
use crate::conformance::codes::{INVALID_CONTEXT_ID, INVALID_RESOURCE_ID};
use crate::conformance::picture::FORMAT;
use crate::driver::Request;

/// The longest name there is room for.
const LONG: &str = "a-context-with-a-name-of-exactly-sixty-four-bytes-not-one-more!!";
const _: () = assert!(LONG.len() == 64);

/// No capability set has this id.
const NO_CAPSET: u32 = 62;

pub(super) fn group() -> Group {
    let virgl = Need::Device(Features::VIRGL);
    let typed = Need::Device(Features::CONTEXT_INIT);
    Group::new("context", "5.7.6.9")
        .needs(&[virgl])
        .case("type-chosen-by-the-device", untyped)
        .case("name-of-0-bytes", |bench| named(bench, 0, ""))
        .case("name-of-64-bytes", |bench| named(bench, 64, LONG))
        .case("name-of-65-bytes", |bench| {
            bench.refused(&Request::ctx_create_named(1, 0, 65, LONG))
        })
        .implied()
        .case("name-of-2-to-the-32-bytes", |bench| {
            bench.refused(&Request::ctx_create_named(1, 0, u32::MAX, LONG))
        })
        .implied()
        .case("name-that-is-no-text", |bench| {
            named(bench, 6, "\u{1}\n\u{7f}é\u{0}")
        })
        .case("id-0", |bench| {
            bench.refused(&Request::ctx_create(0, 0, "zero"))
        })
        .implied()
        .case("id-of-another-context", id_twice)
        .case("id-may-be-any-other", |bench| {
            bench.ok(&Request::ctx_create(u32::MAX, 0, "last"))
        })
        .case("id-again-after-destroy", id_again)
        .case("destroy-unknown", |bench| {
            bench.refused_as(&Request::ctx_destroy(7), INVALID_CONTEXT_ID)
        })
        .implied()
        .case("destroy-0", |bench| bench.refused(&Request::ctx_destroy(0)))
        .implied()
        .case("destroy-twice", destroy_twice)
        .implied()
        .case("attach-and-detach", attach_and_detach)
        .case("attach-to-two-contexts", two_contexts)
        .case("attach-to-unknown-context", |bench| {
            bench.ok(&Request::create_2d(1, FORMAT, 16, 16))?;
            bench.refused_as(&Request::ctx_attach(7, 1), INVALID_CONTEXT_ID)
        })
        .case("attach-unknown-resource", |bench| {
            bench.ok(&Request::ctx_create(1, 0, "one"))?;
            bench.refused_as(&Request::ctx_attach(1, 9), INVALID_RESOURCE_ID)
        })
        .case("detach-from-unknown-context", |bench| {
            bench.ok(&Request::create_2d(1, FORMAT, 16, 16))?;
            bench.refused_as(&Request::ctx_detach(7, 1), INVALID_CONTEXT_ID)
        })
        .case("detach-unknown-resource", |bench| {
            bench.ok(&Request::ctx_create(1, 0, "one"))?;
            bench.refused_as(&Request::ctx_detach(1, 9), INVALID_RESOURCE_ID)
        })
        .case("attach-twice", |bench| {
            attached(bench, &Request::ctx_attach(1, 1))
        })
        .case("detach-what-is-not-attached", |bench| {
            attached(bench, &Request::ctx_detach(1, 2))
        })
        .case("destroy-with-resources-attached", destroy_attached)
        .needs(&[virgl, typed, Need::Capset])
        .case("of-a-capability-set", |bench| {
            bench.context(1)?;
            bench.ok(&Request::ctx_destroy(1))
        })
        .case("several-of-a-capability-set", several)
        .needs(&[virgl, typed])
        .case("of-an-unknown-capability-set", |bench| {
            bench.refused(&Request::ctx_create(1, NO_CAPSET, "unknown"))
        })
        .implied()
}

fn untyped(bench: &mut Bench<'_>) -> Outcome {
    bench.ok(&Request::ctx_create(1, 0, "untyped"))?;
    bench.ok(&Request::ctx_destroy(1))
}

fn named(bench: &mut Bench<'_>, nlen: u32, name: &str) -> Outcome {
    bench.ok(&Request::ctx_create_named(1, 0, nlen, name))
}

fn id_twice(bench: &mut Bench<'_>) -> Outcome {
    bench.ok(&Request::ctx_create(1, 0, "first"))?;
    bench.refused(&Request::ctx_create(1, 0, "second"))?;
    bench.ok(&Request::ctx_destroy(1))
}

fn id_again(bench: &mut Bench<'_>) -> Outcome {
    untyped(bench)?;
    untyped(bench)
}

fn destroy_twice(bench: &mut Bench<'_>) -> Outcome {
    untyped(bench)?;
    bench.refused_as(&Request::ctx_destroy(1), INVALID_CONTEXT_ID)
}

fn attach_and_detach(bench: &mut Bench<'_>) -> Outcome {
    bench.ok(&Request::ctx_create(1, 0, "one"))?;
    bench.ok(&Request::create_2d(1, FORMAT, 16, 16))?;
    bench.ok(&Request::ctx_attach(1, 1))?;
    bench.ok(&Request::ctx_detach(1, 1))?;
    bench.ok(&Request::unref(1))
}

fn two_contexts(bench: &mut Bench<'_>) -> Outcome {
    bench.ok(&Request::create_2d(1, FORMAT, 16, 16))?;
    for ctx_id in [1, 2] {
        bench.ok(&Request::ctx_create(ctx_id, 0, "one of two"))?;
        bench.ok(&Request::ctx_attach(ctx_id, 1))?;
    }
    bench.ok(&Request::ctx_destroy(1))?;
    bench.ok(&Request::ctx_detach(2, 1))
}

/// What follows an attach; the standard does not say whether it is an error.
fn attached(bench: &mut Bench<'_>, then: &Request) -> Outcome {
    bench.ok(&Request::ctx_create(1, 0, "one"))?;
    bench.ok(&Request::create_2d(1, FORMAT, 16, 16))?;
    bench.ok(&Request::create_2d(2, FORMAT, 16, 16))?;
    bench.ok(&Request::ctx_attach(1, 1))?;
    bench.answered(then)?;
    bench.ok(&Request::ctx_detach(1, 1))
}

fn destroy_attached(bench: &mut Bench<'_>) -> Outcome {
    bench.ok(&Request::ctx_create(1, 0, "one"))?;
    bench.ok(&Request::create_2d(1, FORMAT, 16, 16))?;
    bench.ok(&Request::ctx_attach(1, 1))?;
    bench.ok(&Request::ctx_destroy(1))?;
    bench.ok(&Request::unref(1))
}

fn several(bench: &mut Bench<'_>) -> Outcome {
    for ctx_id in 1..=4 {
        bench.context(ctx_id)?;
    }
    for ctx_id in [2, 4, 1, 3] {
        bench.ok(&Request::ctx_destroy(ctx_id))?;
    }
    Ok(())
}
