//! RESOURCE_ASSIGN_UUID.

use std::collections::BTreeSet;

use coherd_protocol::gpu::Features;

use crate::conformance::bench::Bench;
use crate::conformance::case::{Group, Need, Outcome};
use crate::conformance::codes::INVALID_RESOURCE_ID;
use crate::conformance::failure::{Failure, ensure};
use crate::conformance::picture::FORMAT;
use crate::driver::{Blob, Request};

pub(super) fn group() -> Group {
    let uuids = Need::Device(Features::RESOURCE_UUID);
    Group::new("uuid", "5.7.6.8")
        .needs(&[uuids])
        .case("is-16-bytes-and-not-nil", not_nil)
        .case("stays-with-its-resource", stable)
        .case("differs-between-resources", distinct)
        .case("is-new-for-a-new-resource-of-an-old-id", renewed)
        .case("unknown-resource", |bench| {
            bench.refused_as(&Request::assign_uuid(9), INVALID_RESOURCE_ID)
        })
        .case("resource-0", |bench| {
            bench.refused_as(&Request::assign_uuid(0), INVALID_RESOURCE_ID)
        })
        .needs(&[uuids, Need::Device(Features::RESOURCE_BLOB)])
        .case("of-a-cross-device-blob", of_a_blob)
}

fn uuid(bench: &mut Bench<'_>, id: u32) -> Result<Vec<u8>, Failure> {
    bench.data(&Request::assign_uuid(id), 0x1105, 16)
}

fn image(bench: &mut Bench<'_>, id: u32) -> Outcome {
    bench.ok(&Request::create_2d(id, FORMAT, 16, 16))
}

fn not_nil(bench: &mut Bench<'_>) -> Outcome {
    image(bench, 1)?;
    let uuid = uuid(bench, 1)?;
    ensure(uuid.iter().any(|byte| *byte != 0), || {
        "the nil UUID".to_owned()
    })
}

fn stable(bench: &mut Bench<'_>) -> Outcome {
    image(bench, 1)?;
    let first = uuid(bench, 1)?;
    let second = uuid(bench, 1)?;
    ensure(first == second, || "a second one differs".to_owned())
}

fn distinct(bench: &mut Bench<'_>) -> Outcome {
    let mut seen = BTreeSet::new();
    for id in 1..=32 {
        image(bench, id)?;
        seen.insert(uuid(bench, id)?);
    }
    ensure(seen.len() == 32, || {
        format!("{} UUIDs for 32 resources", seen.len())
    })
}

fn renewed(bench: &mut Bench<'_>) -> Outcome {
    image(bench, 1)?;
    let first = uuid(bench, 1)?;
    bench.ok(&Request::unref(1))?;
    image(bench, 1)?;
    let second = uuid(bench, 1)?;
    ensure(first != second, || {
        "two resources had the same UUID".to_owned()
    })
}

fn of_a_blob(bench: &mut Bench<'_>) -> Outcome {
    let size = bench.facts().blob_alignment();
    let memory = bench.memory(size)?;
    let blob = Blob {
        resource_id: 1,
        mem: 1,
        flags: 4,
        size,
        ..Blob::default()
    };
    bench.ok(&blob.request(&[memory]))?;
    uuid(bench, 1).map(drop)
}
