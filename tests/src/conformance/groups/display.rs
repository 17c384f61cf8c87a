//! GET_DISPLAY_INFO and GET_EDID.

use coherd_protocol::gpu::Features;
use coherd_protocol::gpu::limits::EDID_LEN;
use coherd_protocol::gpu::wire::{DisplayOne, EdidHead};
use zerocopy::FromBytes;

use crate::conformance::bench::Bench;
use crate::conformance::case::{Group, Need, Outcome};
use crate::conformance::failure::{Failure, ensure};
use crate::driver::Request;

/// Bytes of the answer to GET_DISPLAY_INFO after its header.
const INFO_LEN: usize = 16 * size_of::<DisplayOne>();

/// Bytes of an EDID block, VESA E-EDID 1.4 section 2.1.
const BLOCK: usize = 128;

pub(super) fn info() -> Group {
    Group::new("display-info", "5.7.6.8")
        .case("is-answered-in-full", |bench| displays(bench).map(drop))
        .case("enabled-scanouts-exist", enabled_exist)
        .case("enabled-scanouts-have-a-size", enabled_have_size)
        .case("does-not-change-by-itself", is_stable)
}

pub(super) fn edid() -> Group {
    Group::new("edid", "5.7.6.8")
        .needs(&[Need::Device(Features::EDID)])
        .case("is-whole-blocks", |bench| blocks(bench).map(drop))
        .case("has-the-header-of-an-edid", header)
        .case("blocks-sum-to-zero", checksums)
        .case("tells-the-number-of-its-blocks", extensions)
        .case("of-a-scanout-that-is-not-there", bad_scanout)
}

fn displays(bench: &mut Bench<'_>) -> Result<[DisplayOne; 16], Failure> {
    let bytes = bench.data(&Request::display_info(), 0x1101, INFO_LEN)?;
    let read = <[DisplayOne; 16]>::read_from_bytes(&bytes);
    read.map_err(|_| Failure::Wrong("answer is too short".to_owned()))
}

fn enabled_exist(bench: &mut Bench<'_>) -> Outcome {
    let displays = displays(bench)?;
    let scanouts = bench.facts().scanouts() as usize;
    let beyond = displays
        .iter()
        .skip(scanouts)
        .any(|one| one.enabled.get() != 0);
    ensure(!beyond, || {
        format!("more than {scanouts} scanouts are enabled")
    })
}

fn enabled_have_size(bench: &mut Bench<'_>) -> Outcome {
    let empty = |one: &&DisplayOne| one.rect.width.get() == 0 || one.rect.height.get() == 0;
    let displays = displays(bench)?;
    let enabled = displays.iter().filter(|one| one.enabled.get() != 0);
    let count = enabled.clone().count();
    bench.note(format!("{count} enabled"));
    ensure(enabled.filter(empty).count() == 0, || {
        "an enabled scanout has no pixels".to_owned()
    })
}

fn is_stable(bench: &mut Bench<'_>) -> Outcome {
    let first = displays(bench)?;
    let second = displays(bench)?;
    ensure(first == second, || "two answers differ".to_owned())
}

fn blocks(bench: &mut Bench<'_>) -> Result<Vec<u8>, Failure> {
    let len = size_of::<EdidHead>() + EDID_LEN;
    let bytes = bench.data(&Request::edid(0), 0x1104, len)?;
    let (head, rest) = EdidHead::read_from_prefix(&bytes)
        .map_err(|_| Failure::Wrong("answer is too short".to_owned()))?;
    let size = head.size.get() as usize;
    ensure(
        size > 0 && size <= EDID_LEN && size.is_multiple_of(BLOCK),
        || format!("an EDID of {size} bytes"),
    )?;
    Ok(rest.get(..size).unwrap_or_default().to_vec())
}

fn header(bench: &mut Bench<'_>) -> Outcome {
    let edid = blocks(bench)?;
    let header = [0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0];
    ensure(edid.starts_with(&header), || {
        format!("it begins with {:02x?}", edid.get(..8).unwrap_or_default())
    })
}

fn checksums(bench: &mut Bench<'_>) -> Outcome {
    let edid = blocks(bench)?;
    let sum = |block: &[u8]| block.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    ensure(edid.chunks(BLOCK).all(|block| sum(block) == 0), || {
        "a checksum is wrong".to_owned()
    })
}

fn extensions(bench: &mut Bench<'_>) -> Outcome {
    let edid = blocks(bench)?;
    let told = edid.get(BLOCK - 2).copied().map_or(0, usize::from);
    ensure(edid.len() == (told + 1) * BLOCK, || {
        format!("{told} extensions in {} bytes", edid.len())
    })
}

fn bad_scanout(bench: &mut Bench<'_>) -> Outcome {
    for scanout in [bench.facts().scanouts(), 16, u32::MAX] {
        bench.refused(&Request::edid(scanout))?;
    }
    Ok(())
}
