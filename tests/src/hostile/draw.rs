//! Numbers that are mostly sensible.

use std::ops::RangeInclusive;

use arbitrary::{Result, Unstructured};

/// One value in this many is anything at all.
const WILD: u8 = 64;

/// Whether the rarer of two things happens, once in `n` times; never once the input is used up.
pub(super) fn one_in(u: &mut Unstructured<'_>, n: u8) -> Result<bool> {
    Ok(u.int_in_range(1..=n)? == n)
}

/// A number from `range`, or now and then any number.
pub(super) fn mostly(u: &mut Unstructured<'_>, range: RangeInclusive<u32>) -> Result<u32> {
    if one_in(u, WILD)? {
        return u.arbitrary();
    }
    u.int_in_range(range)
}

/// A multiple of `unit` from `range` units, or now and then any number.
pub(super) fn multiple(
    u: &mut Unstructured<'_>,
    unit: u64,
    range: RangeInclusive<u64>,
) -> Result<u64> {
    if one_in(u, WILD)? {
        return u.arbitrary();
    }
    Ok(unit.saturating_mul(u.int_in_range(range)?))
}
