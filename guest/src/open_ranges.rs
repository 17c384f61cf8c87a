//! Which parts of a blob this process has between START and END.
//!
//! A START discards what the processor has cached of its range, rounded to the host's atoms, and
//! with it what an open bracket has written there and not flushed. So brackets of one blob may
//! only overlap where all of them read.

use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The open ranges of a blob.
#[derive(Debug, Default)]
pub(crate) struct OpenRanges(Mutex<Vec<OpenRange>>);

/// A range in whole atoms, and whether it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OpenRange {
    range: Range<u64>,
    writes: bool,
}

impl OpenRange {
    /// A range, grown to whole atoms.
    pub fn new(range: Range<u64>, writes: bool, atom: u64) -> Self {
        let atom = atom.max(1);
        let start = range.start - range.start % atom;
        let end = range.end.checked_next_multiple_of(atom).unwrap_or(u64::MAX);
        Self {
            range: start..end,
            writes,
        }
    }

    fn conflicts(&self, other: &Self) -> bool {
        let overlap = self.range.start < other.range.end && other.range.start < self.range.end;
        overlap && (self.writes || other.writes)
    }
}

impl OpenRanges {
    /// Opens a range, unless it conflicts with an open one.
    pub fn open(&self, range: &OpenRange) -> bool {
        let mut open = self.lock();
        let free = !open.iter().any(|other| other.conflicts(range));
        if free {
            open.push(range.clone());
        }
        free
    }

    /// Closes a range that was opened.
    pub fn close(&self, range: &OpenRange) {
        let mut open = self.lock();
        if let Some(place) = open.iter().position(|other| other == range) {
            open.swap_remove(place);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<OpenRange>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reads(range: Range<u64>) -> OpenRange {
        OpenRange::new(range, false, 64)
    }

    fn writes(range: Range<u64>) -> OpenRange {
        OpenRange::new(range, true, 64)
    }

    #[test]
    fn readers_share_and_writers_do_not() {
        let open = OpenRanges::default();
        assert!(open.open(&reads(0..100)));
        assert!(open.open(&reads(50..200)));
        assert!(!open.open(&writes(150..160)));
        assert!(open.open(&writes(256..300)));
        assert!(!open.open(&reads(299..301)));
    }

    #[test]
    fn neighbours_in_one_atom_conflict() {
        let open = OpenRanges::default();
        assert!(open.open(&writes(0..10)));
        assert!(!open.open(&writes(10..20)));
        assert!(open.open(&writes(64..70)));
    }

    #[test]
    fn closing_ends_one_of_equal_ranges() {
        let open = OpenRanges::default();
        assert!(open.open(&reads(0..64)) && open.open(&reads(0..64)));
        open.close(&reads(0..64));
        assert!(!open.open(&writes(0..64)));
        open.close(&reads(0..64));
        assert!(open.open(&writes(0..64)));
    }

    #[test]
    fn atoms_at_the_end_of_all_numbers_do_not_overflow() {
        let range = OpenRange::new(u64::MAX - 1..u64::MAX, true, 4096);
        assert_eq!(range.range.end, u64::MAX);
    }
}
