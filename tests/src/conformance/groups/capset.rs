//! GET_CAPSET_INFO, by index, and GET_CAPSET, by id.

use std::collections::BTreeSet;

use coherd_protocol::gpu::wire::CapsetInfo;

use crate::conformance::bench::{Bench, is_error};
use crate::conformance::case::{Group, Need, Outcome};
use crate::conformance::codes::response;
use crate::conformance::failure::{Failure, ensure};
use crate::driver::Request;

/// Linux keeps the ids it was told of in one word of 64 bits.
const MAX_ID: u32 = 63;

pub(super) fn group() -> Group {
    Group::new("capset", "5.7.6.8")
        .needs(&[Need::Config])
        .case("info-of-an-index-that-is-not-there", |bench| {
            let count = bench.facts().config.map_or(0, |config| config.num_capsets);
            for index in [count, count + 1, u32::MAX] {
                bench.refused(&Request::capset_info(index))?;
            }
            Ok(())
        })
        .implied()
        .case("data-of-an-unknown-id", |bench| {
            for id in [0, 62, u32::MAX] {
                bench.refused(&Request::capset(id, 1))?;
            }
            Ok(())
        })
        .implied()
        .needs(&[Need::Capset])
        .case("ids-are-distinct", distinct)
        .section("linux uapi")
        .case("ids-are-1-to-63", ids_in_range)
        .section("5.7.6.8")
        .case("data-has-the-size-told", |bench| {
            let capsets = &bench.facts().capsets;
            capsets
                .iter()
                .try_for_each(|info| data(bench, info).map(drop))
        })
        .case("data-is-not-all-zero", not_zero)
        .case("data-is-the-same-each-time", stable)
        .case("version-beyond-the-last", beyond_version)
        .section("5.7.6.7")
        .case("data-with-room-for-the-header-only", little_room)
}

/// The bytes of a capability set in its last version.
fn data(bench: &mut Bench<'_>, info: &CapsetInfo) -> Result<Vec<u8>, Failure> {
    let request = Request::capset(info.capset_id.get(), info.max_version.get());
    bench.data(&request, 0x1103, info.max_size.get() as usize)
}

fn distinct(bench: &mut Bench<'_>) -> Outcome {
    let capsets = &bench.facts().capsets;
    let ids: BTreeSet<u32> = capsets.iter().map(|info| info.capset_id.get()).collect();
    bench.note(format!("{ids:?}"));
    ensure(ids.len() == capsets.len(), || {
        format!("{} ids of {} capability sets", ids.len(), capsets.len())
    })
}

fn ids_in_range(bench: &mut Bench<'_>) -> Outcome {
    let capsets = &bench.facts().capsets;
    let mut ids = capsets.iter().map(|info| info.capset_id.get());
    ensure(ids.all(|id| (1..=MAX_ID).contains(&id)), || {
        "an id is out of range".to_owned()
    })
}

fn not_zero(bench: &mut Bench<'_>) -> Outcome {
    for info in &bench.facts().capsets {
        let bytes = data(bench, info)?;
        ensure(bytes.iter().any(|byte| *byte != 0), || {
            format!("capability set {} is empty", info.capset_id)
        })?;
    }
    Ok(())
}

fn stable(bench: &mut Bench<'_>) -> Outcome {
    for info in &bench.facts().capsets {
        let (first, second) = (data(bench, info)?, data(bench, info)?);
        ensure(first == second, || {
            format!("capability set {} changes", info.capset_id)
        })?;
    }
    Ok(())
}

/// The standard does not say whether that is refused.
fn beyond_version(bench: &mut Bench<'_>) -> Outcome {
    for info in &bench.facts().capsets {
        let request = Request::capset(info.capset_id.get(), u32::MAX);
        let answer = bench.call(&request, info.max_size.get() as usize)?;
        bench.note(response(answer.code()));
        ensure(answer.code() == 0x1103 || is_error(answer.code()), || {
            response(answer.code())
        })?;
    }
    Ok(())
}

fn little_room(bench: &mut Bench<'_>) -> Outcome {
    for info in &bench.facts().capsets {
        let request = Request::capset(info.capset_id.get(), info.max_version.get());
        let answer = bench.call(&request, 0)?;
        bench.note(response(answer.code()));
        ensure(answer.used <= 24, || {
            format!("{} bytes in room for 24", answer.used)
        })?;
    }
    Ok(())
}
