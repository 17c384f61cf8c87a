//! Checks of what other contexts and the host's ledger see.

use std::io;
use std::os::fd::AsFd;

use coherd_protocol::blob_context::Status;

use super::Place;
use super::movement::{Memory, to_u64};
use super::pattern::{compare, pattern};
use super::runner::{Outcome, Runner, Stop};
use crate::tool::{probe, words};
use crate::{Allocation, AllocationRequest, Holder, MemoryProperties, MemoryType, Owner};

const LEN: usize = 4096;

/// Runs the checks.
pub fn check(runner: &mut Runner<'_>, place: &Place) -> io::Result<()> {
    runner.run("contexts do not reach each other's memory", || {
        isolated(place)
    })?;
    for kind in words::distinct(&place.context.host().types) {
        let name = words::memory_type(&kind);
        runner.run(&format!("{name}: exported and imported"), || {
            exported(place, kind)
        })?;
        runner.run(&format!("{name}: the host knows who maps it"), || {
            described(place, kind)
        })?;
    }
    runner.run("guard that is dropped ends before the next copy", || {
        dropped(place)
    })?;
    runner.run("two contexts work at once", || at_once(place))
}

/// Memory of this type, or a reason why there is none.
fn memory(place: &Place, kind: MemoryType, shareable: bool) -> Result<Allocation, Stop> {
    let request = AllocationRequest {
        shareable,
        ..AllocationRequest::new(to_u64(LEN), kind.properties)
    };
    let allocation = place.context.allocate(&request)?;
    let got = allocation.memory().properties;
    match got == kind.properties {
        true => Ok(allocation),
        false => Err(Stop::Skipped(probe::instead(got))),
    }
}

fn visible() -> AllocationRequest {
    AllocationRequest::new(to_u64(LEN), MemoryProperties::HOST_VISIBLE)
}

fn isolated(place: &Place) -> Outcome {
    let ours = Memory::of(place, place.context.allocate(&visible())?)?;
    let theirs = place.other.allocate(&visible())?;
    let sent = pattern(9, LEN);
    ours.write(0, &sent)?;
    let (here, there) = (ours.allocation.at(0), theirs.at(0));
    let tries = [
        place.other.fill(here, to_u64(LEN), 1)?,
        place.other.copy(here, there, to_u64(LEN))?,
        place.other.copy(there, here, to_u64(LEN))?,
    ];
    for work in tries {
        match work.wait() {
            Err(error) if error.call().status() == Some(Status::UnknownResource) => {}
            Err(error) => return Err(error.into()),
            Ok(()) => {
                return Err(Stop::Failed(
                    "another context's memory was reached".to_owned(),
                ));
            }
        }
    }
    compare(&sent, &ours.read(0..LEN)?)
}

fn exported(place: &Place, kind: MemoryType) -> Outcome {
    let ours = Memory::of(place, memory(place, kind, true)?)?;
    let file = ours.allocation.export()?;
    let theirs = place.other.import(file.as_fd())?;
    if theirs.resource_id() != ours.allocation.resource_id() {
        return Err(Stop::Failed("it became another resource".to_owned()));
    }
    ours.write(0, &pattern(4, LEN))?;
    let word: u32 = 0x0bad_cafe;
    place
        .other
        .fill(theirs.at(0), to_u64(LEN) / 2, word)?
        .wait()?;
    let mut expected = pattern(4, LEN);
    if let Some(half) = expected.get_mut(..LEN / 2) {
        half.copy_from_slice(&word.to_le_bytes().repeat(LEN / 8));
    }
    compare(&expected, &ours.read(0..LEN)?)
}

/// The ledger has this guest, with the type that it maps with, and its open accesses.
fn described(place: &Place, kind: MemoryType) -> Outcome {
    let allocation = memory(place, kind, false)?;
    if kind.caching.is_none() {
        let holders = allocation.describe()?.holders;
        return match holders.iter().find(|holder| holder.owner == Owner::Guest) {
            None => Ok(()),
            Some(holder) => Err(Stop::Failed(format!(
                "not mappable, and {holder:?} maps it"
            ))),
        };
    }
    let mapping = allocation.map()?;
    guest(&allocation, kind)?;
    if kind.needs_sync {
        let before = allocation.describe()?.open;
        let guard = mapping.read(..)?;
        let during = allocation.describe()?.open;
        guard.end()?;
        place.context.wait_idle()?;
        let after = allocation.describe()?.open;
        if (before, during, after) != (0, 1, 0) {
            return Err(Stop::Failed(format!(
                "accesses open before, during and after one: {before}, {during}, {after}"
            )));
        }
    }
    Ok(())
}

fn guest(allocation: &Allocation, kind: MemoryType) -> Result<Holder, Stop> {
    let holders = allocation.describe()?.holders;
    let guest = holders.iter().find(|holder| holder.owner == Owner::Guest);
    match guest {
        Some(holder) if holder.caching == kind.caching && holder.count > 0 => Ok(*holder),
        Some(holder) => Err(Stop::Failed(format!("the guest is {holder:?}"))),
        None => Err(Stop::Failed(format!("the guest is not among {holders:?}"))),
    }
}

/// Nobody waits for the END of a guard that is dropped, and yet a copy comes after it.
fn dropped(place: &Place) -> Outcome {
    for kind in words::distinct(&place.context.host().types) {
        if kind.caching.is_none() {
            continue;
        }
        let from = match memory(place, kind, false) {
            Err(Stop::Skipped(_)) => continue,
            from => from?,
        };
        let to = memory(place, kind, false)?;
        let (source, target) = (from.map()?, to.map()?);
        for turn in 0..16 {
            let sent = pattern(turn, LEN);
            source.write(..)?.copy_from(0, &sent)?;
            place
                .context
                .copy(from.at(0), to.at(0), to_u64(LEN))?
                .wait()?;
            compare(&sent, &target.read(..)?.to_vec())?;
        }
    }
    Ok(())
}

/// Both contexts move bytes at the same time, and each gets its own.
fn at_once(place: &Place) -> Outcome {
    let work = |context: &crate::Context, seed: u64| -> Outcome {
        let (from, to) = (context.allocate(&visible())?, context.allocate(&visible())?);
        let (source, target) = (from.map()?, to.map()?);
        for turn in 0..16 {
            let sent = pattern(seed + turn, LEN);
            source.write(..)?.copy_from(0, &sent)?;
            context.copy(from.at(0), to.at(0), to_u64(LEN))?.wait()?;
            compare(&sent, &target.read(..)?.to_vec())?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(|| work(&place.other, 1000));
        let here = work(&place.context, 2000);
        let there = other
            .join()
            .unwrap_or_else(|_| Err(Stop::Failed("a thread panicked".to_owned())));
        here.and(there)
    })
}
