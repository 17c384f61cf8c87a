//! The host-visible window: a set of disjoint, page-aligned intervals.
//!
//! The table is the daemon's own and authoritative. It says what the VMM has mapped, including
//! what the VMM may still have mapped from before a reset.

use std::collections::BTreeMap;

use thiserror::Error;

use crate::backing::FileId;

/// Why an interval cannot enter the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum WindowError {
    /// Offset or length is zero-sized, not a multiple of the page size, or overflows.
    #[error("offset {offset:#x} or length {len:#x} is not page aligned")]
    Unaligned {
        /// Offset into the window, in bytes.
        offset: u64,
        /// Bytes.
        len: u64,
    },
    /// The interval leaves the window.
    #[error("offset {offset:#x} with length {len:#x} is outside the window")]
    Outside {
        /// Offset into the window, in bytes.
        offset: u64,
        /// Bytes.
        len: u64,
    },
    /// Part of the interval is mapped.
    #[error("offset {offset:#x} with length {len:#x} overlaps a mapping")]
    Busy {
        /// Offset into the window, in bytes.
        offset: u64,
        /// Bytes.
        len: u64,
    },
    /// The number of mappings reached its budget.
    #[error("all {0} mappings are in use")]
    Budget(usize),
}

/// What is known of a mapping in the VMM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MappingState {
    /// The VMM has it and a resource uses it.
    Live,
    /// It is from before a reset. The VMM may still have it; it goes before its range is used
    /// again.
    Stale,
    /// The VMM refused to remove it. Its range is never used again on this connection.
    Stuck,
}

/// One mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Offset into the window, in bytes.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
    /// The file mapped there.
    pub file: FileId,
    /// See [`MappingState`].
    pub state: MappingState,
}

/// The window of one connection.
#[derive(Debug)]
pub struct Window {
    size: u64,
    page_size: u64,
    budget: usize,
    by_offset: BTreeMap<u64, Mapping>,
}

impl Window {
    /// An empty window of `size` bytes with `page_size` (a power of two) and at most `budget`
    /// mappings at a time.
    pub fn new(size: u64, page_size: u64, budget: usize) -> Self {
        Self {
            size,
            page_size,
            budget,
            by_offset: BTreeMap::new(),
        }
    }

    /// Bytes of the window.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Number of mappings, whatever their state.
    pub fn len(&self) -> usize {
        self.by_offset.len()
    }

    /// Every mapping, by offset.
    pub fn iter(&self) -> impl Iterator<Item = &Mapping> {
        self.by_offset.values()
    }

    /// Whether nothing is mapped.
    pub fn is_empty(&self) -> bool {
        self.by_offset.is_empty()
    }

    /// Checks that a mapping could be added.
    ///
    /// Mappings in [`MappingState::Stale`] are not an error; [`Window::in_the_way`] lists those
    /// that have to be removed first.
    ///
    /// # Errors
    /// See [`WindowError`].
    pub fn check(&self, offset: u64, len: u64) -> Result<(), WindowError> {
        let aligned = |value: u64| value & (self.page_size - 1) == 0;
        if len == 0 || !aligned(offset) || !aligned(len) {
            return Err(WindowError::Unaligned { offset, len });
        }
        if offset.checked_add(len).is_none_or(|end| end > self.size) {
            return Err(WindowError::Outside { offset, len });
        }
        if self
            .overlapping(offset, len)
            .any(|mapping| mapping.state != MappingState::Stale)
        {
            return Err(WindowError::Busy { offset, len });
        }
        if self.len() - self.stale().count() >= self.budget {
            return Err(WindowError::Budget(self.budget));
        }
        Ok(())
    }

    /// The stale mappings that have to go before an interval is added: those that overlap it, and
    /// as many others as the budget wants.
    pub fn in_the_way(&self, offset: u64, len: u64) -> Vec<Mapping> {
        let overlaps = |mapping: &&Mapping| {
            mapping.offset < offset.saturating_add(len) && offset < mapping.offset + mapping.len
        };
        let (mut found, others): (Vec<_>, Vec<_>) = self.stale().partition(overlaps);
        let excess = (self.len() - found.len() + 1).saturating_sub(self.budget);
        found.extend(others.into_iter().take(excess));
        found.into_iter().copied().collect()
    }

    /// Adds a live mapping.
    ///
    /// # Errors
    /// See [`Window::check`]; [`WindowError::Busy`] also for stale mappings in the way.
    pub fn insert(&mut self, offset: u64, len: u64, file: FileId) -> Result<Mapping, WindowError> {
        self.check(offset, len)?;
        if !self.in_the_way(offset, len).is_empty() {
            return Err(WindowError::Busy { offset, len });
        }
        let mapping = Mapping {
            offset,
            len,
            file,
            state: MappingState::Live,
        };
        self.by_offset.insert(offset, mapping);
        Ok(mapping)
    }

    /// Removes the mapping at exactly `offset`.
    pub fn remove(&mut self, offset: u64) -> Option<Mapping> {
        self.by_offset.remove(&offset)
    }

    /// Marks the mapping at exactly `offset`.
    pub fn mark(&mut self, offset: u64, state: MappingState) {
        if let Some(mapping) = self.by_offset.get_mut(&offset) {
            mapping.state = state;
        }
    }

    /// Marks every live mapping stale: the device was reset and the VMM may have kept them.
    pub fn mark_all_stale(&mut self) {
        for mapping in self.by_offset.values_mut() {
            if mapping.state == MappingState::Live {
                mapping.state = MappingState::Stale;
            }
        }
    }

    /// Forgets every mapping: the VMM is known to have dropped them.
    pub fn clear(&mut self) {
        self.by_offset.clear();
    }

    fn stale(&self) -> impl Iterator<Item = &Mapping> {
        self.iter()
            .filter(|mapping| mapping.state == MappingState::Stale)
    }

    fn overlapping(&self, offset: u64, len: u64) -> impl Iterator<Item = &Mapping> {
        let end = offset.saturating_add(len);
        let before = self
            .by_offset
            .range(..offset)
            .next_back()
            .map(|(_, mapping)| mapping)
            .filter(move |mapping| mapping.offset + mapping.len > offset);
        before.into_iter().chain(
            self.by_offset
                .range(offset..end)
                .map(|(_, mapping)| mapping),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PAGE: u64 = 4096;

    fn file() -> FileId {
        FileId::of(std::io::stdin()).unwrap()
    }

    fn window() -> Window {
        Window::new(64 * PAGE, PAGE, 8)
    }

    #[test]
    fn neighbours_do_not_overlap() {
        let mut window = window();
        window.insert(PAGE, PAGE, file()).unwrap();
        window.insert(0, PAGE, file()).unwrap();
        window.insert(2 * PAGE, PAGE, file()).unwrap();
        assert_eq!(window.len(), 3);
    }

    #[test]
    fn overlap_on_either_side_is_busy() {
        let mut window = window();
        window.insert(4 * PAGE, 4 * PAGE, file()).unwrap();
        for (offset, len) in [(3, 2), (4, 4), (5, 1), (7, 4), (0, 64)] {
            let (offset, len) = (offset * PAGE, len * PAGE);
            assert_eq!(
                window.check(offset, len),
                Err(WindowError::Busy { offset, len })
            );
        }
    }

    #[test]
    fn intervals_outside_the_window_are_refused_without_overflow() {
        let window = window();
        for (offset, len) in [
            (64 * PAGE, PAGE),
            (0, 65 * PAGE),
            (u64::MAX - PAGE + 1, PAGE),
        ] {
            assert!(matches!(
                window.check(offset, len),
                Err(WindowError::Outside { .. })
            ));
        }
    }

    #[test]
    fn unaligned_and_empty_intervals_are_refused() {
        let window = window();
        for (offset, len) in [(1, PAGE), (0, 0), (0, PAGE + 1), (2048, 2048)] {
            assert_eq!(
                window.check(offset, len),
                Err(WindowError::Unaligned { offset, len })
            );
        }
    }

    #[test]
    fn budget_holds_until_something_is_removed() {
        let mut window = Window::new(64 * PAGE, PAGE, 2);
        window.insert(0, PAGE, file()).unwrap();
        window.insert(PAGE, PAGE, file()).unwrap();
        assert_eq!(window.check(2 * PAGE, PAGE), Err(WindowError::Budget(2)));
        window.remove(0);
        window.check(2 * PAGE, PAGE).unwrap();
    }

    #[test]
    fn stale_mappings_are_listed_and_must_go_before_their_range_is_used() {
        let mut window = window();
        window.insert(0, 2 * PAGE, file()).unwrap();
        window.mark_all_stale();

        window.check(PAGE, PAGE).unwrap();
        assert_eq!(window.in_the_way(PAGE, PAGE).len(), 1);
        assert!(window.insert(PAGE, PAGE, file()).is_err());

        window.remove(0);
        window.insert(PAGE, PAGE, file()).unwrap();
    }

    #[test]
    fn stale_mappings_give_way_to_the_budget() {
        let mut window = Window::new(64 * PAGE, PAGE, 3);
        for page in 0..3 {
            window.insert(page * PAGE, PAGE, file()).unwrap();
        }
        window.mark_all_stale();

        window.check(8 * PAGE, PAGE).unwrap();
        let offsets = |found: Vec<Mapping>| -> Vec<u64> {
            found.iter().map(|mapping| mapping.offset / PAGE).collect()
        };
        assert_eq!(offsets(window.in_the_way(8 * PAGE, PAGE)), [0]);
        assert_eq!(offsets(window.in_the_way(2 * PAGE, PAGE)), [2]);

        window.remove(0);
        window.insert(8 * PAGE, PAGE, file()).unwrap();
        assert_eq!(window.len(), 3);
    }

    #[test]
    fn stuck_ranges_stay_busy() {
        let mut window = window();
        window.insert(0, PAGE, file()).unwrap();
        window.mark(0, MappingState::Stuck);
        window.mark_all_stale();
        assert!(matches!(
            window.check(0, PAGE),
            Err(WindowError::Busy { .. })
        ));
    }

    proptest! {
        #[test]
        fn live_mappings_never_overlap(requests in prop::collection::vec((0u64..70, 0u64..10, any::<bool>()), 0..200)) {
            let mut window = Window::new(64 * PAGE, PAGE, 32);
            let mut model = [false; 64];
            for (offset, len, remove) in requests {
                let range = usize::try_from(offset).unwrap()..usize::try_from(offset + len).unwrap();
                if remove {
                    if let Some(mapping) = window.remove(offset * PAGE) {
                        let first = usize::try_from(mapping.offset / PAGE).unwrap();
                        let pages = usize::try_from(mapping.len / PAGE).unwrap();
                        model[first..first + pages].fill(false);
                    }
                    continue;
                }
                let fits = len > 0 && range.end <= 64 && !model[range.clone()].contains(&true);
                let inserted = window.insert(offset * PAGE, len * PAGE, file()).is_ok();
                prop_assert_eq!(inserted, fits && window.len() <= 32);
                if inserted {
                    model[range].fill(true);
                }
            }
        }
    }
}
