//! Without brackets the bytes of a type that needs them have to be stale. Only a host that keeps
//! the GPU's side of such memory apart, as coherd's test layer does, guarantees that.

use std::io;

use super::Place;
use super::movement::to_u64;
use super::pattern::pattern;
use super::runner::{Outcome, Runner, Stop};
use crate::tool::{probe, words};
use crate::{Mapping, MemoryType};

const LEN: usize = 16 * 4096;

/// Runs the checks of a type, if it needs brackets.
pub fn check_type(runner: &mut Runner<'_>, place: &Place, kind: MemoryType) -> io::Result<()> {
    if !kind.needs_sync {
        return Ok(());
    }
    let name = words::memory_type(&kind);
    runner.run(
        &format!("{name}: the GPU does not see what was written"),
        || written(place, kind),
    )?;
    runner.run(&format!("{name}: what the GPU wrote is not seen"), || {
        filled(place, kind)
    })
}

/// What this program writes without END does not reach a copy.
fn written(place: &Place, kind: MemoryType) -> Outcome {
    let from = probe::allocate(&place.context, kind, to_u64(LEN)).map_err(Stop::Failed)?;
    let to = probe::allocate(&place.context, kind, to_u64(LEN)).map_err(Stop::Failed)?;
    let (mapping, target) = (from.map()?, to.map()?);
    let (old, new) = (pattern(1, LEN), pattern(2, LEN));
    store(&mapping, &old)?;
    mapping.without_sync().write(0, &new)?;
    place
        .context
        .copy(from.at(0), to.at(0), to_u64(LEN))?
        .wait()?;
    stale(&old, &target.read(..)?.to_vec())
}

/// What the GPU wrote is not seen without START.
fn filled(place: &Place, kind: MemoryType) -> Outcome {
    let memory = probe::allocate(&place.context, kind, to_u64(LEN)).map_err(Stop::Failed)?;
    let mapping = memory.map()?;
    let old = pattern(3, LEN);
    store(&mapping, &old)?;
    place
        .context
        .fill(memory.at(0), to_u64(LEN), 0x5a5a_5a5a)?
        .wait()?;
    let mut found = vec![0; LEN];
    mapping.without_sync().read(0, &mut found)?;
    stale(&old, &found)?;
    // The fill did happen.
    let seen = mapping.read(..)?.to_vec();
    match seen.iter().all(|byte| *byte == 0x5a) {
        true => Ok(()),
        false => Err(Stop::Failed(
            "the bytes are stale with brackets too".to_owned(),
        )),
    }
}

fn store(mapping: &Mapping, bytes: &[u8]) -> Result<(), Stop> {
    let mut guard = mapping.write(..)?;
    guard.copy_from(0, bytes)?;
    Ok(guard.end()?)
}

fn stale(old: &[u8], found: &[u8]) -> Outcome {
    match old == found {
        true => Ok(()),
        false => Err(Stop::Failed(
            "the bytes are not stale: this host would not show a missing bracket".to_owned(),
        )),
    }
}
