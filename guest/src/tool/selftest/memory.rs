//! Checks of one memory type: what this program writes the GPU sees, and the other way round.

use std::io;

use super::Place;
use super::movement::{Memory, to_u64};
use super::pattern::{compare, pattern};
use super::runner::{Outcome, Runner, Stop};
use crate::tool::{probe, words};
use crate::{AllocationRequest, Caching, MemoryType};

const PAGE: usize = 4096;

/// Sizes that are checked, up to the largest that was asked for.
const SIZES: [usize; 6] = [PAGE, 3 * PAGE, 17 * PAGE, 1 << 20, 16 << 20, 64 << 20];

/// Odd ranges of 16 pages: offset and length.
const RANGES: [(usize, usize); 10] = [
    (0, 1),
    (1, 1),
    (3, 61),
    (63, 2),
    (64, 64),
    (4095, 2),
    (4097, 8191),
    (12345, 6789),
    (16 * PAGE - 1, 1),
    (16 * PAGE - 4099, 4099),
];

/// How often memory is changed by turns.
const TURNS: u64 = 32;

/// Allocations that live at a time.
const MANY: usize = 32;

/// Runs the checks of a type.
pub fn check_type(runner: &mut Runner<'_>, place: &Place, kind: MemoryType) -> io::Result<()> {
    let name = words::memory_type(&kind);
    // A type may not be to be had for buffers. Then nothing of it can be checked.
    let one = AllocationRequest::new(1, kind.properties);
    let got = place
        .context
        .allocate(&one)
        .map(|it| it.memory().properties);
    if let Ok(got) = got
        && got != kind.properties
    {
        return runner.run(&name, || Err(Stop::Skipped(probe::instead(got))));
    }
    runner.run(&format!("{name}: is what was promised"), || {
        promised(place, kind)
    })?;
    let max = usize::try_from(place.max_size).unwrap_or(usize::MAX);
    for size in SIZES.into_iter().filter(|size| *size <= max) {
        let text = words::bytes(to_u64(size));
        runner.run(&format!("{name}: write, GPU copy, read {text}"), || {
            copies(place, kind, size)
        })?;
        runner.run(&format!("{name}: GPU fill, read {text}"), || {
            fills(place, kind, size)
        })?;
    }
    runner.run(&format!("{name}: odd ranges"), || ranges(place, kind))?;
    runner.run(
        &format!("{name}: {TURNS} turns of this program and the GPU"),
        || turns(place, kind),
    )?;
    runner.run(&format!("{name}: {MANY} at a time"), || many(place, kind))
}

/// Memory has the properties that were asked for, and is mapped as they say.
fn promised(place: &Place, kind: MemoryType) -> Outcome {
    let allocation = probe::allocate(&place.context, kind, 1).map_err(Stop::Failed)?;
    let memory = allocation.memory();
    let differs = |what: &str, got: Option<Caching>, expected: Option<Caching>| {
        Stop::Failed(format!("{what} is {got:?} instead of {expected:?}"))
    };
    if memory.caching != kind.caching {
        return Err(differs("the caching", memory.caching, kind.caching));
    }
    if memory.needs_sync != kind.needs_sync {
        return Err(Stop::Failed(format!(
            "brackets are needed: {} instead of {}",
            memory.needs_sync, kind.needs_sync
        )));
    }
    let page = place.context.host().page_size;
    if memory.size != page {
        return Err(Stop::Failed(format!(
            "1 byte was made {} instead of {page}",
            memory.size
        )));
    }
    Ok(())
}

fn copies(place: &Place, kind: MemoryType, size: usize) -> Outcome {
    let from = Memory::new(place, kind, to_u64(size))?;
    let to = Memory::new(place, kind, to_u64(size))?;
    let sent = pattern(to_u64(size), size);
    from.write(0, &sent)?;
    let work = place
        .context
        .copy(from.allocation.at(0), to.allocation.at(0), to_u64(size))?;
    work.wait()?;
    compare(&sent, &to.read(0..size)?)
}

fn fills(place: &Place, kind: MemoryType, size: usize) -> Outcome {
    let memory = Memory::new(place, kind, to_u64(size))?;
    // What was there before is cached by this processor, if anything is.
    memory.write(0, &pattern(1, size))?;
    let word: u32 = 0x1234_5678;
    place
        .context
        .fill(memory.allocation.at(0), to_u64(size), word)?
        .wait()?;
    compare(&word.to_le_bytes().repeat(size / 4), &memory.read(0..size)?)
}

/// Writes odd ranges, has them copied to other odd places, and looks at their neighbours too.
fn ranges(place: &Place, kind: MemoryType) -> Outcome {
    let size = 16 * PAGE;
    let from = Memory::new(place, kind, to_u64(size))?;
    let to = Memory::new(place, kind, to_u64(size))?;
    let (mut expected_from, mut expected_to) = (pattern(1, size), pattern(2, size));
    from.write(0, &expected_from)?;
    to.write(0, &expected_to)?;
    for (turn, (offset, len)) in (3..).zip(RANGES) {
        let sent = pattern(turn, len);
        from.write(offset, &sent)?;
        // Somewhere else, from the end.
        let target = size - offset - len;
        let (source, destination) = (
            from.allocation.at(to_u64(offset)),
            to.allocation.at(to_u64(target)),
        );
        place
            .context
            .copy(source, destination, to_u64(len))?
            .wait()?;
        for (memory, offset) in [(&mut expected_from, offset), (&mut expected_to, target)] {
            if let Some(range) = memory.get_mut(offset..offset + len) {
                range.copy_from_slice(&sent);
            }
        }
        compare(&sent, &to.read(target..target + len)?)?;
    }
    compare(&expected_from, &from.read(0..size)?)?;
    compare(&expected_to, &to.read(0..size)?)
}

/// Changes the same page from both sides by turns, so that a stale copy of any turn shows.
fn turns(place: &Place, kind: MemoryType) -> Outcome {
    let memory = Memory::new(place, kind, to_u64(2 * PAGE))?;
    for turn in 0..TURNS {
        let sent = pattern(turn, PAGE);
        memory.write(0, &sent)?;
        let (from, to) = (memory.allocation.at(0), memory.allocation.at(to_u64(PAGE)));
        place.context.copy(from, to, to_u64(PAGE))?.wait()?;
        compare(&sent, &memory.read(PAGE..2 * PAGE)?)?;
        let word = 0x0101_0101 * u32::try_from(turn).unwrap_or(0);
        place.context.fill(from, to_u64(PAGE), word)?.wait()?;
        compare(&word.to_le_bytes().repeat(PAGE / 4), &memory.read(0..PAGE)?)?;
    }
    Ok(())
}

/// Many allocations keep their bytes to themselves.
fn many(place: &Place, kind: MemoryType) -> Outcome {
    let all: Result<Vec<_>, Stop> = (0..MANY)
        .map(|number| {
            let memory = Memory::new(place, kind, to_u64(2 * PAGE))?;
            memory.write(0, &pattern(to_u64(number), memory.len()))?;
            Ok(memory)
        })
        .collect();
    let all = all?;
    for (number, memory) in (0..).zip(&all) {
        compare(
            &pattern(number, memory.len()),
            &memory.read(0..memory.len())?,
        )?;
    }
    Ok(())
}
