//! Feature bits: what depends on what, and commands whose feature was not negotiated.

use coherd_protocol::gpu::Features;
use virtio_bindings::virtio_config::VIRTIO_F_VERSION_1;

use crate::conformance::bench::Bench;
use crate::conformance::case::{Group, Need, Outcome, Setup};
use crate::conformance::failure::ensure;
use crate::conformance::picture::FORMAT;
use crate::driver::{Blob, Request};

pub(super) fn group() -> Group {
    let blobs = Features::RESOURCE_BLOB | Features::BLOB_ALIGNMENT;
    let virgl = Features::VIRGL | Features::CONTEXT_INIT;
    let version_1 = 1 << VIRTIO_F_VERSION_1;
    Group::new("features", "6")
        .case("version-1-is-offered", move |bench| {
            ensure(bench.facts().offered & version_1 != 0, || {
                "VIRTIO_F_VERSION_1 is not offered".to_owned()
            })
        })
        .section("5.7.3")
        .case("context-init-comes-with-virgl", |bench| {
            depends(bench, Features::CONTEXT_INIT, Features::VIRGL)
        })
        .case("blob-alignment-comes-with-resource-blob", |bench| {
            depends(bench, Features::BLOB_ALIGNMENT, Features::RESOURCE_BLOB)
        })
        .setup(Setup::without(!version_1))
        .case("2d-works-without-any", |bench| {
            bench.ok(&Request::create_2d(1, FORMAT, 16, 16))?;
            bench.ok(&Request::unref(1))
        })
        .section("5.7.6.8")
        .needs(&[Need::Device(Features::RESOURCE_BLOB)])
        .setup(Setup::without(blobs.bits()))
        .case("create-blob-needs-resource-blob", |bench| {
            let blob = Blob {
                resource_id: 1,
                mem: 1,
                size: bench.facts().blob_alignment(),
                ..Blob::default()
            };
            bench.refused(&blob.request(&[]))
        })
        .section("5.7.6.9")
        .needs(&[Need::Device(Features::VIRGL)])
        .setup(Setup::without(virgl.bits()))
        .case("ctx-create-needs-virgl", |bench| {
            bench.refused(&Request::ctx_create(1, 0, "none"))
        })
        .needs(&[Need::Device(Features::CONTEXT_INIT), Need::Capset])
        .setup(Setup::without(Features::CONTEXT_INIT.bits()))
        .case("typed-context-needs-context-init", |bench| {
            let capset = bench.facts().capset().unwrap_or_default();
            bench.refused(&Request::ctx_create(1, capset, "typed"))
        })
        .section("5.7.6.8")
        .needs(&[
            Need::Device(Features::RESOURCE_BLOB),
            Need::Device(Features::VIRGL),
        ])
        .setup(Setup::without(virgl.bits()))
        .case("host-blob-needs-virgl", |bench| {
            let blob = bench.host_blob(1, 1, bench.facts().blob_alignment());
            bench.refused(&blob.request(&[]))
        })
}

/// `one` is offered with `other` or not at all.
fn depends(bench: &mut Bench<'_>, one: Features, other: Features) -> Outcome {
    let offered = Features::from_bits_truncate(bench.facts().offered);
    ensure(!offered.contains(one) || offered.contains(other), || {
        format!("{one:?} without {other:?}")
    })
}
