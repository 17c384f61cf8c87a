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
