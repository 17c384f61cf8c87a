//! Flush and invalidate of mapped memory that is not coherent.
//!
//! To invalidate bytes that were written and not flushed leaves them undefined
//! (vkInvalidateMappedMemoryRanges), and others may write at this moment. So atoms that somebody
//! writes are left out: the CPU's caches have their newest bytes, since the device does not
//! write there.

use std::ops::Range;

use coherd_protocol::memory::Access;

use super::action::Action;

/// The grid on which ranges are flushed and invalidated.
#[derive(Clone, Copy, Debug)]
pub(super) struct Atoms {
    mask: u64,
    size: u64,
}

impl Atoms {
    pub(super) fn new(atom: u64, size: u64) -> Self {
        let atom = atom.checked_next_power_of_two().unwrap_or(1 << 63);
        Self {
            mask: atom - 1,
            size,
        }
    }

    fn down(self, offset: u64) -> u64 {
        offset & !self.mask
    }

    fn up(self, offset: u64) -> u64 {
        offset
            .checked_add(self.mask)
            .map_or(self.size, |end| self.down(end).min(self.size))
    }

    /// All atoms that the range touches.
    fn around(self, range: &Range<u64>) -> Range<u64> {
        self.down(range.start)..self.up(range.end)
    }
}

/// What begins a bracket while others write in `writers`.
pub(super) fn start<'a>(
    atoms: Atoms,
    access: Access,
    range: &Range<u64>,
    writers: impl Iterator<Item = &'a Range<u64>>,
) -> Vec<Action> {
    let around = atoms.around(range);
    let stale = if access.contains(Access::READ) {
        vec![around]
    } else {
        edges(atoms, range)
    };
    let mut busy: Vec<_> = writers.map(|range| atoms.around(range)).collect();
    busy.sort_unstable_by_key(|range| range.start);
    let invalidate = stale.into_iter().flat_map(|range| without(range, &busy));
    let actions: Vec<_> = invalidate.map(Action::Invalidate).collect();
    match actions.is_empty() {
        true => vec![Action::Order],
        false => actions,
    }
}

/// What ends brackets that wrote in `written`.
pub(super) fn end<'a>(
    atoms: Atoms,
    written: impl Iterator<Item = &'a Range<u64>>,
) -> impl Iterator<Item = Action> {
    written.map(move |range| Action::Flush(atoms.around(range)))
}

/// The atoms of which the range has only a part. Their other bytes are flushed with it, so they
/// must be fresh even if nobody reads them.
fn edges(atoms: Atoms, range: &Range<u64>) -> Vec<Range<u64>> {
    let around = atoms.around(range);
    let first = around.start..atoms.up(around.start + 1);
    let last = atoms.down(around.end - 1)..around.end;
    let mut edges = Vec::new();
    if range.start != around.start || range.end < first.end {
        edges.push(first.clone());
    }
    if range.end != around.end && last != first {
        edges.push(last);
    }
    edges
}

/// The parts of a range outside of `busy`, which is sorted by start.
fn without(range: Range<u64>, busy: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut parts = Vec::new();
    let mut start = range.start;
    for taken in busy {
        if taken.start >= range.end {
            break;
        }
        if taken.start > start {
            parts.push(start..taken.start);
        }
        start = start.max(taken.end);
    }
    if start < range.end {
        parts.push(start..range.end);
    }
    parts
}
