//! The configuration space.

use coherd_protocol::gpu::Features;
use coherd_protocol::gpu::limits::MAX_SCANOUTS;
use coherd_protocol::gpu::wire::CapsetInfo;

use crate::conformance::bench::Bench;
use crate::conformance::case::{Group, Need, Outcome};
use crate::conformance::facts::{CONFIG_LEN, Config};
use crate::conformance::failure::ensure;
use crate::driver::Request;

/// Offset of `events_clear`.
const EVENTS_CLEAR: u32 = 4;

/// Offset of `num_scanouts`.
const NUM_SCANOUTS: u32 = 8;

/// Offset of `blob_alignment`.
const BLOB_ALIGNMENT: u32 = 16;

pub(super) fn group() -> Group {
    Group::new("config", "5.7.4")
        .needs(&[Need::Config])
        .case("num-scanouts-is-1-to-16", num_scanouts)
        .case("fields-read-alone-are-the-same", fields_alone)
        .case("events-are-cleared-by-writing-ones", events_clear)
        .case("num-scanouts-is-read-only", read_only)
        .case("num-capsets-bounds-capset-index", num_capsets)
        .needs(&[Need::Config, Need::Device(Features::BLOB_ALIGNMENT)])
        .case("blob-alignment-is-a-power-of-two", blob_alignment)
}

fn num_scanouts(bench: &mut Bench<'_>) -> Outcome {
    let config = Config::from_bytes(&bench.frontend.get_config(0, CONFIG_LEN)?);
    bench.note(config.num_scanouts.to_string());
    ensure((1..=MAX_SCANOUTS).contains(&config.num_scanouts), || {
        format!("{} scanouts", config.num_scanouts)
    })
}

fn fields_alone(bench: &mut Bench<'_>) -> Outcome {
    let whole = bench.frontend.get_config(0, CONFIG_LEN)?;
    // Bytes 4 to 7, events_clear, have no meaning when they are read.
    for offset in [0, 8, 12] {
        let alone = bench.frontend.get_config(offset, 4)?;
        let within = whole
            .get(offset as usize..offset as usize + 4)
            .unwrap_or_default();
        ensure(alone == within, || {
            format!("offset {offset}: {alone:?} alone, {within:?} within the whole")
        })?;
    }
    Ok(())
}

fn events_clear(bench: &mut Bench<'_>) -> Outcome {
    bench
        .frontend
        .set_config(EVENTS_CLEAR, &u32::MAX.to_le_bytes())?;
    let events = bench.frontend.get_config(0, 4)?;
    // A guest cannot make an event happen.
    bench.note("no event was pending");
    ensure(events == [0; 4], || format!("events_read is {events:?}"))
}

fn read_only(bench: &mut Bench<'_>) -> Outcome {
    let before = bench.frontend.get_config(NUM_SCANOUTS, 4)?;
    // The backend may acknowledge that with an error: the device ignores it or says so.
    if bench
        .frontend
        .set_config(NUM_SCANOUTS, &77u32.to_le_bytes())
        .is_err()
    {
        bench.note("SET_CONFIG refused");
    }
    let after = bench.frontend.get_config(NUM_SCANOUTS, 4)?;
    ensure(before == after, || format!("it became {after:?}"))
}

fn num_capsets(bench: &mut Bench<'_>) -> Outcome {
    let config = Config::from_bytes(&bench.frontend.get_config(0, CONFIG_LEN)?);
    let len = size_of::<CapsetInfo>();
    for index in 0..config.num_capsets {
        bench.data(&Request::capset_info(index), 0x1102, len)?;
    }
    bench.note(config.num_capsets.to_string());
    Ok(())
}

fn blob_alignment(bench: &mut Bench<'_>) -> Outcome {
    let bytes = bench.frontend.get_config(BLOB_ALIGNMENT, 4)?;
    let alignment = bytes
        .first_chunk()
        .map_or(0, |word| u32::from_le_bytes(*word));
    bench.note(alignment.to_string());
    ensure(alignment.is_power_of_two(), || {
        format!("{alignment} is no power of two")
    })
}
