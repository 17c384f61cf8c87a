//! Who maps a blob, and with which memory type.

use std::collections::BTreeMap;
use std::fmt;

use thiserror::Error;

use crate::memory_type::{MapInfo, MemoryType};

/// Somebody who accesses a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Holder {
    /// The guest, through the window.
    Guest,
    /// The VMM's own mapping of the window.
    Vmm,
    /// This process.
    Daemon,
    /// A host process on the sync socket, by its connection.
    Peer(u64),
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Guest => f.write_str("guest"),
            Self::Vmm => f.write_str("VMM"),
            Self::Daemon => f.write_str("daemon"),
            Self::Peer(id) => write!(f, "peer {id}"),
        }
    }
}

/// Why the ledger cannot be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum LedgerError {
    /// The holder has more mappings than can be counted.
    #[error("too many mappings of the {0}")]
    TooMany(Holder),
    /// The holder has no mapping of this type.
    #[error("the {0} has no such mapping")]
    NotMapped(Holder),
}

/// Mappings of one holder with one type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Who maps.
    pub holder: Holder,
    /// How its mappings are cached; `None` if nobody knows.
    pub caching: Option<MapInfo>,
    /// How many it has, at least one.
    pub count: u32,
}

/// Whether all who map a blob use the type of its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Agreement {
    /// They do.
    Agree,
    /// Nobody is known to differ, but of some it is not known.
    Unknown,
    /// Somebody maps it otherwise.
    Differ,
}

/// The live mappings of one blob. It grows with the number of holders, which is the caller's to
/// bound, not with their mappings.
#[derive(Clone, Debug)]
pub struct Ledger {
    memory: MemoryType,
    counts: BTreeMap<(Holder, Option<MapInfo>), u32>,
}

impl Ledger {
    /// The ledger of a blob that nobody maps.
    pub fn new(memory: MemoryType) -> Self {
        Self {
            memory,
            counts: BTreeMap::new(),
        }
    }

    /// The type of the blob's memory.
    pub fn memory(&self) -> MemoryType {
        self.memory
    }

    /// Notes one more mapping of `holder`, cached as `caching`.
    ///
    /// # Errors
    /// [`LedgerError::TooMany`]; nothing is noted.
    pub fn map(&mut self, holder: Holder, caching: Option<MapInfo>) -> Result<(), LedgerError> {
        let count = self.counts.get(&(holder, caching)).copied().unwrap_or(0);
        let more = count.checked_add(1).ok_or(LedgerError::TooMany(holder))?;
        self.counts.insert((holder, caching), more);
        Ok(())
    }

    /// Notes that `holder` has one such mapping less.
    ///
    /// # Errors
    /// [`LedgerError::NotMapped`]
    pub fn unmap(&mut self, holder: Holder, caching: Option<MapInfo>) -> Result<(), LedgerError> {
        let key = (holder, caching);
        let count = self
            .counts
            .get_mut(&key)
            .ok_or(LedgerError::NotMapped(holder))?;
        *count -= 1;
        if *count == 0 {
            self.counts.remove(&key);
        }
        Ok(())
    }

    /// Forgets every mapping of `holder`, who is gone. Returns how many it had.
    pub fn release(&mut self, holder: Holder) -> u64 {
        let gone = self.of(holder).map(|entry| u64::from(entry.count)).sum();
        self.counts.retain(|&(other, _), _| other != holder);
        gone
    }

    /// Every mapping, by holder.
    pub fn iter(&self) -> impl Iterator<Item = Entry> {
        self.counts
            .iter()
            .map(|(&(holder, caching), &count)| Entry {
                holder,
                caching,
                count,
            })
    }

    /// The mappings of `holder`.
    pub fn of(&self, holder: Holder) -> impl Iterator<Item = Entry> {
        self.iter().filter(move |entry| entry.holder == holder)
    }

    /// Whether nobody maps the blob.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// Whether all mappings have the type of the memory.
    pub fn agreement(&self) -> Agreement {
        let caching = |entry: Entry| entry.caching;
        if self
            .iter()
            .filter_map(caching)
            .any(|caching| caching != self.memory.caching)
        {
            Agreement::Differ
        } else if self.iter().map(caching).any(|caching| caching.is_none()) {
            Agreement::Unknown
        } else {
            Agreement::Agree
        }
    }

    /// Whether `holder` has a mapping through which accesses need brackets.
    pub fn needs_brackets(&self, holder: Holder) -> bool {
        self.of(holder)
            .any(|entry| self.memory.needs_brackets_through(entry.caching))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use MapInfo::{Cached, Uncached, WriteCombining};
    use proptest::prelude::*;

    const VIDEO: MemoryType = MemoryType {
        caching: WriteCombining,
        coherent: true,
    };
    const HOLDERS: [Holder; 5] = [
        Holder::Guest,
        Holder::Vmm,
        Holder::Daemon,
        Holder::Peer(0),
        Holder::Peer(u64::MAX),
    ];

    #[test]
    fn blob_that_nobody_maps_agrees() {
        let ledger = Ledger::new(VIDEO);
        assert!(ledger.is_empty());
        assert_eq!(ledger.agreement(), Agreement::Agree);
        assert_eq!(ledger.iter().count(), 0);
    }

    #[test]
    fn mappings_are_counted_by_holder_and_type() {
        let mut ledger = Ledger::new(VIDEO);
        for caching in [Some(Cached), Some(Cached), None, Some(WriteCombining)] {
            ledger.map(Holder::Daemon, caching).unwrap();
        }
        ledger.map(Holder::Peer(7), Some(Cached)).unwrap();

        let entries: Vec<_> = ledger.of(Holder::Daemon).collect();
        let entry = |caching, count| Entry {
            holder: Holder::Daemon,
            caching,
            count,
        };
        assert_eq!(
            entries,
            [
                entry(None, 1),
                entry(Some(Cached), 2),
                entry(Some(WriteCombining), 1)
            ]
        );
        assert_eq!(ledger.iter().count(), 4);
    }

    #[test]
    fn one_that_maps_otherwise_makes_them_differ() {
        for other in [Cached, Uncached] {
            let mut ledger = Ledger::new(VIDEO);
            ledger.map(Holder::Guest, Some(WriteCombining)).unwrap();
            ledger.map(Holder::Vmm, None).unwrap();
            assert_eq!(ledger.agreement(), Agreement::Unknown);
            ledger.map(Holder::Peer(1), Some(other)).unwrap();
            assert_eq!(ledger.agreement(), Agreement::Differ);
            ledger.unmap(Holder::Peer(1), Some(other)).unwrap();
            ledger.unmap(Holder::Vmm, None).unwrap();
            assert_eq!(ledger.agreement(), Agreement::Agree);
        }
    }

    #[test]
    fn all_that_agree_with_each_other_may_still_differ_from_the_memory() {
        let mut ledger = Ledger::new(VIDEO);
        ledger.map(Holder::Guest, Some(Cached)).unwrap();
        ledger.map(Holder::Vmm, Some(Cached)).unwrap();
        assert_eq!(ledger.agreement(), Agreement::Differ);
    }

    #[test]
    fn holder_that_maps_otherwise_needs_brackets() {
        let mut ledger = Ledger::new(VIDEO);
        ledger.map(Holder::Guest, Some(WriteCombining)).unwrap();
        ledger.map(Holder::Peer(1), Some(WriteCombining)).unwrap();
        ledger.map(Holder::Peer(1), Some(Cached)).unwrap();
        ledger.map(Holder::Peer(2), None).unwrap();
        for (holder, needs) in [
            (Holder::Guest, false),
            (Holder::Peer(1), true),
            (Holder::Peer(2), true),
            (Holder::Peer(3), false),
        ] {
            assert_eq!(ledger.needs_brackets(holder), needs, "{holder}");
        }
    }

    #[test]
    fn everybody_needs_brackets_on_incoherent_memory() {
        let memory = MemoryType {
            caching: Cached,
            coherent: false,
        };
        let mut ledger = Ledger::new(memory);
        ledger.map(Holder::Guest, Some(Cached)).unwrap();
        assert_eq!(ledger.memory(), memory);
        assert_eq!(ledger.agreement(), Agreement::Agree);
        assert!(ledger.needs_brackets(Holder::Guest));
    }

    #[test]
    fn mapping_that_is_not_there_cannot_go() {
        let mut ledger = Ledger::new(VIDEO);
        let error = LedgerError::NotMapped(Holder::Guest);
        assert_eq!(ledger.unmap(Holder::Guest, None), Err(error));
        ledger.map(Holder::Guest, Some(Cached)).unwrap();
        assert_eq!(ledger.unmap(Holder::Guest, None), Err(error));
        ledger.unmap(Holder::Guest, Some(Cached)).unwrap();
        assert_eq!(ledger.unmap(Holder::Guest, Some(Cached)), Err(error));
    }

    #[test]
    fn count_does_not_overflow() {
        let mut ledger = Ledger::new(VIDEO);
        ledger.counts.insert((Holder::Guest, None), u32::MAX);
        let error = LedgerError::TooMany(Holder::Guest);
        assert_eq!(ledger.map(Holder::Guest, None), Err(error));
        ledger
            .counts
            .insert((Holder::Guest, Some(Cached)), u32::MAX);
        assert_eq!(ledger.release(Holder::Guest), 2 * u64::from(u32::MAX));
        assert!(ledger.is_empty());
    }

    #[derive(Clone, Debug)]
    enum Step {
        Map(Holder, Option<MapInfo>),
        Unmap(Holder, Option<MapInfo>),
        Release(Holder),
    }

    fn step() -> impl Strategy<Value = Step> {
        let holder = || prop::sample::select(HOLDERS.to_vec());
        let types = vec![None, Some(Cached), Some(Uncached), Some(WriteCombining)];
        let caching = prop::sample::select(types);
        prop_oneof![
            4 => (holder(), caching.clone()).prop_map(|(holder, caching)| Step::Map(holder, caching)),
            4 => (holder(), caching).prop_map(|(holder, caching)| Step::Unmap(holder, caching)),
            1 => holder().prop_map(Step::Release),
        ]
    }

    proptest! {
        #[test]
        fn ledger_is_a_list_of_mappings(steps in prop::collection::vec(step(), 0..100)) {
            let mut ledger = Ledger::new(VIDEO);
            let mut list = Vec::new();
            for step in steps {
                match step {
                    Step::Map(holder, caching) => {
                        ledger.map(holder, caching).unwrap();
                        list.push((holder, caching));
                    }
                    Step::Unmap(holder, caching) => {
                        let found = list.iter().position(|&entry| entry == (holder, caching));
                        prop_assert_eq!(ledger.unmap(holder, caching).is_ok(), found.is_some());
                        found.map(|index| list.swap_remove(index));
                    }
                    Step::Release(holder) => {
                        let before = list.len();
                        list.retain(|&(other, _)| other != holder);
                        prop_assert_eq!(ledger.release(holder), (before - list.len()) as u64);
                    }
                }
                let count: u64 = ledger.iter().map(|entry| u64::from(entry.count)).sum();
                prop_assert_eq!(count, list.len() as u64);
                let differ = |&&(_, caching): &&(Holder, Option<MapInfo>)| {
                    caching.is_some_and(|caching| caching != WriteCombining)
                };
                let expected = if list.iter().find(differ).is_some() {
                    Agreement::Differ
                } else if list.iter().any(|&(_, caching)| caching.is_none()) {
                    Agreement::Unknown
                } else {
                    Agreement::Agree
                };
                prop_assert_eq!(ledger.agreement(), expected);
            }
        }
    }
}
