//! Fences that were asked for and are not complete.
//!
//! A timeline completes in the order of its submissions, because Linux signals every older fence
//! of a timeline together with the one it is told of. So a command that failed waits for the ones
//! before it too.
//!
//! The guest's fence ids go back to the guest and are not looked at. Here a fence has a number of
//! the device's own, which grows and is never used again, not even after a reset: whatever ids a
//! guest chooses, a late signal finds nothing.

#[cfg(test)]
mod model;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;

use coherd_protocol::gpu::header::{Fence, Timeline};

/// A context and the index of one of its rings.
pub type Ring = (u32, u8);

#[derive(Debug)]
struct OnRing<T> {
    number: u64,
    /// Whether its work has to be signalled.
    waits: bool,
    reply: T,
}

#[derive(Debug)]
struct Global<T> {
    /// The last fence on each ring that it follows.
    after: Vec<(Ring, u64)>,
    reply: T,
}

/// Pending fences, each with the reply that it releases.
///
/// Nothing here costs more the more fences are pending, but for the search among timelines in
/// use, and for what an operation releases.
#[derive(Debug)]
pub struct FenceTable<T> {
    /// Number of the latest fence.
    last: u64,
    rings: BTreeMap<Ring, VecDeque<OnRing<T>>>,
    global: VecDeque<Global<T>>,
    len: usize,
}

impl<T> Default for FenceTable<T> {
    fn default() -> Self {
        Self {
            last: 0,
            rings: BTreeMap::new(),
            global: VecDeque::new(),
            len: 0,
        }
    }
}

impl<T> FenceTable<T> {
    /// Adds a fence to a ring and returns its number. It `waits` for a signal, or for nothing but
    /// its predecessors. Replies that can go out now are appended to `released`.
    pub fn add_to_ring(&mut self, ring: Ring, waits: bool, reply: T, released: &mut Vec<T>) -> u64 {
        self.last += 1;
        self.len += 1;
        self.rings.entry(ring).or_default().push_back(OnRing {
            number: self.last,
            waits,
            reply,
        });
        self.release(ring, 0, released);
        self.last
    }

    /// Adds a fence to the global timeline. It follows every fence that is now pending on the
    /// rings of a context, if one is given.
    pub fn add_global(&mut self, follows: Option<u32>, reply: T, released: &mut Vec<T>) {
        self.last += 1;
        self.len += 1;
        let after = follows.map_or_else(Vec::new, |ctx_id| {
            let last = |(ring, fences): (&Ring, &VecDeque<OnRing<T>>)| {
                fences.back().map(|fence| (*ring, fence.number))
            };
            self.rings
                .range(rings_of(ctx_id))
                .filter_map(last)
                .collect()
        });
        self.global.push_back(Global { after, reply });
        self.release_global(released);
    }

    /// Follows the renderer: the fence with this number and the earlier ones of its ring are done.
    pub fn signal(&mut self, fence: Fence, released: &mut Vec<T>) {
        if let Timeline::Ring { ctx_id, ring_idx } = fence.timeline {
            self.release((ctx_id, ring_idx), fence.id, released);
        }
    }

    /// Follows the renderer: the fence with this number will not be signalled. It goes out after
    /// its predecessors.
    pub fn give_up(&mut self, ring: Ring, number: u64, released: &mut Vec<T>) {
        if let Some(fences) = self.rings.get_mut(&ring)
            && let Ok(index) = fences.binary_search_by_key(&number, |fence| fence.number)
            && let Some(fence) = fences.get_mut(index)
        {
            fence.waits = false;
            self.release(ring, 0, released);
        }
    }

    /// Releases every fence of a context: nobody will signal them any more.
    pub fn abandon_context(&mut self, ctx_id: u32, released: &mut Vec<T>) {
        while let Some((ring, _)) = self.rings.range(rings_of(ctx_id)).next() {
            self.release(*ring, u64::MAX, released);
        }
    }

    /// Forgets every fence; their replies are void.
    pub fn clear(&mut self) {
        *self = Self {
            last: self.last,
            ..Self::default()
        };
    }

    /// The first pending fence of each ring, in the order of contexts.
    pub fn fronts(&self) -> impl Iterator<Item = (Ring, u64)> {
        self.rings
            .iter()
            .filter_map(|(ring, fences)| Some((*ring, fences.front()?.number)))
    }

    /// Number of pending fences.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Number of pending fences on the rings of a context.
    pub fn len_of_context(&self, ctx_id: u32) -> usize {
        let rings = self.rings.range(rings_of(ctx_id));
        rings.map(|(_, fences)| fences.len()).sum()
    }

    /// Whether no fence is pending.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Releases the fences of a ring up to a number, those behind them that wait for nothing
    /// more, and the global ones that followed them.
    fn release(&mut self, ring: Ring, done: u64, released: &mut Vec<T>) {
        if let Entry::Occupied(mut pending) = self.rings.entry(ring) {
            let fences = pending.get_mut();
            let is_done = |fence: &OnRing<T>| fence.number <= done || !fence.waits;
            while fences.front().is_some_and(is_done)
                && let Some(fence) = fences.pop_front()
            {
                self.len -= 1;
                released.push(fence.reply);
            }
            if fences.is_empty() {
                pending.remove();
            }
        }
        self.release_global(released);
    }

    fn release_global(&mut self, released: &mut Vec<T>) {
        let is_pending = |(ring, number): &(Ring, u64)| {
            let first = self.rings.get(ring).and_then(VecDeque::front);
            first.is_some_and(|first| first.number <= *number)
        };
        while let Some(fence) = self.global.front_mut() {
            while fence.after.pop_if(|last| !is_pending(last)).is_some() {}
            if !fence.after.is_empty() {
                return;
            }
            if let Some(fence) = self.global.pop_front() {
                self.len -= 1;
                released.push(fence.reply);
            }
        }
    }
}

fn rings_of(ctx_id: u32) -> RangeInclusive<Ring> {
    (ctx_id, 0)..=(ctx_id, u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A signal for a number on a ring.
    fn signal((ctx_id, ring_idx): Ring, id: u64) -> Fence {
        let timeline = Timeline::Ring { ctx_id, ring_idx };
        Fence { id, timeline }
    }

    #[test]
    fn signal_releases_older_fences_of_the_same_ring_only() {
        let (mut table, mut released) = (FenceTable::default(), Vec::new());
        for (reply, ring) in [
            ("a", (1, 1)),
            ("b", (1, 1)),
            ("other", (1, 2)),
            ("c", (1, 1)),
        ] {
            table.add_to_ring(ring, true, reply, &mut released);
        }

        table.signal(signal((1, 1), 2), &mut released);

        assert_eq!(released, ["a", "b"]);
        assert_eq!(table.len(), 2);
    }

    #[test]
    fn failed_command_does_not_overtake_its_ring() {
        let (mut table, mut released) = (FenceTable::default(), Vec::new());
        let first = table.add_to_ring((1, 1), true, "first", &mut released);
        table.add_to_ring((1, 1), false, "failed", &mut released);
        assert!(released.is_empty());

        table.signal(signal((1, 1), first), &mut released);

        assert_eq!(released, ["first", "failed"]);
        assert!(table.is_empty());
    }

    #[test]
    fn fence_that_was_given_up_does_not_overtake_its_ring() {
        let (mut table, mut released) = (FenceTable::default(), Vec::new());
        let first = table.add_to_ring((1, 1), true, "first", &mut released);
        let second = table.add_to_ring((1, 1), true, "second", &mut released);

        table.give_up((1, 1), second, &mut released);
        assert!(released.is_empty());
        table.signal(signal((1, 1), first), &mut released);

        assert_eq!(released, ["first", "second"]);
    }

    #[test]
    fn ring_zero_is_not_the_global_timeline() {
        let (mut table, mut released) = (FenceTable::default(), Vec::new());
        table.add_to_ring((0, 0), true, "ring", &mut released);

        table.add_global(None, "global", &mut released);

        assert_eq!(released, ["global"]);
    }

    #[test]
    fn global_fence_waits_for_the_rings_it_follows_and_keeps_order() {
        let (mut table, mut released) = (FenceTable::default(), Vec::new());
        let before = table.add_to_ring((1, 1), true, "before", &mut released);
        table.add_global(Some(1), "global", &mut released);
        table.add_to_ring((1, 1), true, "after", &mut released);
        table.add_global(None, "next", &mut released);
        assert!(released.is_empty());

        table.signal(signal((1, 1), before), &mut released);

        assert_eq!(released, ["before", "global", "next"]);
    }

    #[test]
    fn fences_of_a_lost_context_are_released() {
        let (mut table, mut released) = (FenceTable::default(), Vec::new());
        for ring in [(1, 63), (1, 0), (2, 0)] {
            table.add_to_ring(ring, true, ring, &mut released);
        }
        table.add_global(Some(1), (0, 0), &mut released);

        table.abandon_context(1, &mut released);

        assert_eq!(released, [(1, 0), (1, 63), (0, 0)]);
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn signal_of_an_abandoned_or_forgotten_fence_finds_nothing() {
        let (mut table, mut released) = (FenceTable::default(), Vec::new());
        let abandoned = table.add_to_ring((1, 1), true, "abandoned", &mut released);
        table.abandon_context(1, &mut released);
        let forgotten = table.add_to_ring((1, 1), true, "forgotten", &mut released);
        table.clear();
        table.add_to_ring((1, 1), true, "new", &mut released);

        table.signal(signal((1, 1), abandoned), &mut released);
        table.signal(signal((1, 1), forgotten), &mut released);

        assert_eq!(released, ["abandoned"]);
        assert_eq!(table.len(), 1);
    }
}
