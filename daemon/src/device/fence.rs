//! Fences that were asked for and are not complete.
//!
//! A timeline completes in the order of its submissions, because Linux signals every older fence
//! of a timeline together with the one it is told of. So a command that failed waits for the ones
//! before it too.

use std::collections::{HashMap, VecDeque};

use coherd_protocol::gpu::header::{Fence, Timeline};

/// What a fence waits for besides its predecessors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Nothing: its command is complete.
    Nothing,
    /// The renderer's signal.
    Signal,
    /// Fences of other timelines.
    Fences(Vec<Fence>),
}

#[derive(Debug)]
struct Entry<T> {
    id: u64,
    wait: Wait,
    reply: T,
}

/// Pending fences, each with the reply that it releases.
#[derive(Debug)]
pub struct FenceTable<T> {
    timelines: HashMap<Timeline, VecDeque<Entry<T>>>,
}

impl<T> Default for FenceTable<T> {
    fn default() -> Self {
        Self {
            timelines: HashMap::new(),
        }
    }
}

impl<T> FenceTable<T> {
    /// Adds a fence and appends the replies that can go out now, perhaps its own, to `released`.
    pub fn add(&mut self, fence: Fence, wait: Wait, reply: T, released: &mut Vec<T>) {
        let entry = Entry {
            id: fence.id,
            wait,
            reply,
        };
        self.timelines
            .entry(fence.timeline)
            .or_default()
            .push_back(entry);
        self.release(fence.timeline, released);
    }

    /// Follows the renderer: `fence` and the earlier ones of its timeline are done.
    pub fn signal(&mut self, fence: Fence, released: &mut Vec<T>) {
        if let Some(entries) = self.timelines.get_mut(&fence.timeline) {
            for entry in entries.iter_mut().take_while(|entry| entry.id <= fence.id) {
                entry.wait = Wait::Nothing;
            }
        }
        self.release(fence.timeline, released);
    }

    /// Releases every fence of a context: nobody will signal them any more.
    pub fn abandon_context(&mut self, ctx_id: u32, released: &mut Vec<T>) {
        for last in self.last_of_context(ctx_id) {
            if let Some(entries) = self.timelines.get_mut(&last.timeline) {
                entries
                    .iter_mut()
                    .for_each(|entry| entry.wait = Wait::Nothing);
            }
            self.release(last.timeline, released);
        }
    }

    /// The last pending fence on each timeline of a context.
    pub fn last_of_context(&self, ctx_id: u32) -> Vec<Fence> {
        let of_context = |timeline: &Timeline| matches!(timeline, Timeline::Ring { ctx_id: id, .. } if *id == ctx_id);
        self.timelines
            .iter()
            .filter(|(timeline, _)| of_context(timeline))
            .filter_map(|(timeline, entries)| {
                entries.back().map(|entry| Fence {
                    id: entry.id,
                    timeline: *timeline,
                })
            })
            .collect()
    }

    /// Number of pending fences on the rings of a context.
    pub fn len_of_context(&self, ctx_id: u32) -> usize {
        let of_context = |timeline: &Timeline| matches!(timeline, Timeline::Ring { ctx_id: id, .. } if *id == ctx_id);
        self.timelines
            .iter()
            .filter(|(timeline, _)| of_context(timeline))
            .map(|(_, entries)| entries.len())
            .sum()
    }

    /// Forgets every fence; their replies are void.
    pub fn clear(&mut self) {
        self.timelines.clear();
    }

    /// Number of pending fences.
    pub fn len(&self) -> usize {
        self.timelines.values().map(VecDeque::len).sum()
    }

    /// Whether no fence is pending.
    pub fn is_empty(&self) -> bool {
        self.timelines.is_empty()
    }

    fn release(&mut self, timeline: Timeline, released: &mut Vec<T>) {
        self.release_ready(timeline, released);
        if timeline != Timeline::Global && self.timelines.contains_key(&Timeline::Global) {
            self.release_ready(Timeline::Global, released);
        }
    }

    fn release_ready(&mut self, timeline: Timeline, released: &mut Vec<T>) {
        let Some(mut entries) = self.timelines.remove(&timeline) else {
            return;
        };
        while let Some(entry) = entries.pop_front() {
            let ready = match &entry.wait {
                Wait::Nothing => true,
                Wait::Signal => false,
                Wait::Fences(fences) => !fences.iter().any(|fence| self.is_pending(fence)),
            };
            if !ready {
                entries.push_front(entry);
                self.timelines.insert(timeline, entries);
                return;
            }
            released.push(entry.reply);
        }
    }

    fn is_pending(&self, fence: &Fence) -> bool {
        self.timelines
            .get(&fence.timeline)
            .and_then(VecDeque::front)
            .is_some_and(|entry| entry.id <= fence.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(ctx_id: u32, ring_idx: u8, id: u64) -> Fence {
        Fence {
            id,
            timeline: Timeline::Ring { ctx_id, ring_idx },
        }
    }

    fn global(id: u64) -> Fence {
        Fence {
            id,
            timeline: Timeline::Global,
        }
    }

    #[test]
    fn signal_releases_older_fences_of_the_same_ring_only() {
        let mut table = FenceTable::default();
        let mut released = Vec::new();
        for fence in [
            ring(1, 1, 10),
            ring(1, 1, 12),
            ring(1, 1, 15),
            ring(1, 2, 11),
        ] {
            table.add(fence, Wait::Signal, fence.id, &mut released);
        }
        table.signal(ring(1, 1, 12), &mut released);
        assert_eq!(released, [10, 12]);
        assert_eq!(table.len(), 2);
    }

    #[test]
    fn failed_command_does_not_overtake_its_ring() {
        let mut table = FenceTable::default();
        let mut released = Vec::new();
        table.add(ring(1, 1, 10), Wait::Signal, 10, &mut released);
        table.add(ring(1, 1, 11), Wait::Nothing, 11, &mut released);
        assert!(released.is_empty());
        table.signal(ring(1, 1, 10), &mut released);
        assert_eq!(released, [10, 11]);
    }

    #[test]
    fn late_signal_of_an_older_fence_changes_nothing() {
        let mut table = FenceTable::default();
        let mut released = Vec::new();
        table.add(ring(1, 1, 10), Wait::Signal, 10, &mut released);
        table.signal(ring(1, 1, 9), &mut released);
        assert!(released.is_empty());
    }

    #[test]
    fn global_fence_waits_for_the_rings_it_follows_and_keeps_order() {
        let mut table = FenceTable::default();
        let mut released = Vec::new();
        table.add(ring(1, 1, 10), Wait::Signal, 10, &mut released);
        let follows = Wait::Fences(table.last_of_context(1));
        table.add(global(11), follows, 11, &mut released);
        table.add(global(12), Wait::Nothing, 12, &mut released);
        assert!(released.is_empty());
        table.signal(ring(1, 1, 10), &mut released);
        assert_eq!(released, [10, 11, 12]);
        assert!(table.is_empty());
    }

    #[test]
    fn fences_of_a_lost_context_are_released() {
        let mut table = FenceTable::default();
        let mut released = Vec::new();
        table.add(ring(1, 1, 10), Wait::Signal, 10, &mut released);
        table.add(ring(2, 1, 11), Wait::Signal, 11, &mut released);
        // A driver counts upwards; nothing makes it.
        table.add(ring(1, 1, 3), Wait::Signal, 3, &mut released);
        table.abandon_context(1, &mut released);
        assert_eq!(released, [10, 3]);
        assert_eq!(table.len(), 1);
    }
}
