//! The blobs that there are, for those who are not the device.
//!
//! The device enters blobs and removes them, and waits for nobody: its lock is held for as long as
//! it takes to change a table.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

use super::record::BlobRecord;
use crate::reactor::Wake;

/// Changes that are kept until somebody follows them.
const MAX_CHANGES: usize = 1024;

/// Counters of resources with the same id. Ids that are so far apart share one.
const GENERATIONS: usize = 1 << 16;

/// A blob that is new.
#[derive(Debug)]
pub struct NewBlob {
    /// Bytes.
    pub size: u64,
    /// The guest's resource.
    pub resource_id: u32,
    /// The context that it was made in, or 0.
    pub context_id: u32,
    /// Its file, if it has one.
    pub record: Option<Arc<BlobRecord>>,
}

/// A blob that there is, or was.
#[derive(Debug)]
pub struct KnownBlob {
    /// Its id, which no other blob has or gets.
    pub id: u64,
    /// How many resources with its resource id were before.
    pub generation: u32,
    /// What the device says of it.
    pub of: NewBlob,
}

/// Why a blob is not found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// It was removed.
    Gone,
    /// There never was one.
    Unknown,
}

/// Something that happened to a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It was entered.
    Created(u64),
    /// It was removed.
    Destroyed(u64),
}

/// What happened since it was last asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// The number of the first one; each has the next.
    pub first: u64,
    /// In their order.
    pub changes: Vec<Change>,
    /// Others, later than these, were not kept.
    pub lost: bool,
}

/// See the module's description.
#[derive(Debug)]
pub struct Registry {
    state: Mutex<State>,
    news: Wake,
}

#[derive(Debug)]
struct State {
    blobs: BTreeMap<u64, Arc<KnownBlob>>,
    last: u64,
    generations: Vec<u32>,
    is_followed: bool,
    /// Changes that were taken.
    taken: u64,
    changes: VecDeque<Change>,
    lost: bool,
}

impl Registry {
    /// A registry without blobs.
    ///
    /// # Errors
    /// The error of eventfd2.
    pub fn new() -> Result<Self, Errno> {
        let state = State {
            blobs: BTreeMap::new(),
            last: 0,
            generations: vec![0; GENERATIONS],
            is_followed: false,
            taken: 0,
            changes: VecDeque::new(),
            lost: false,
        };
        Ok(Self {
            state: Mutex::new(state),
            news: Wake::new()?,
        })
    }

    /// Enters a blob and returns its id.
    pub fn enter(&self, blob: NewBlob) -> u64 {
        let mut state = self.lock();
        state.last += 1;
        let id = state.last;
        let generation = state.next_generation(blob.resource_id);
        let known = KnownBlob {
            id,
            generation,
            of: blob,
        };
        state.blobs.insert(id, Arc::new(known));
        self.note(&mut state, Change::Created(id));
        id
    }

    /// Removes a blob. Who uses it goes on.
    pub fn remove(&self, id: u64) {
        let mut state = self.lock();
        let removed = state.blobs.remove(&id);
        if removed.is_some() {
            self.note(&mut state, Change::Destroyed(id));
        }
        drop(state);
    }

    /// The blob `id`.
    ///
    /// # Errors
    /// See [`Missing`].
    pub fn get(&self, id: u64) -> Result<Arc<KnownBlob>, Missing> {
        let state = self.lock();
        match state.blobs.get(&id) {
            Some(blob) => Ok(Arc::clone(blob)),
            None if id != 0 && id <= state.last => Err(Missing::Gone),
            None => Err(Missing::Unknown),
        }
    }

    /// The first `limit` blobs with ids over `after`, and whether there are more.
    pub fn page(&self, after: u64, limit: usize) -> (Vec<Arc<KnownBlob>>, bool) {
        let state = self.lock();
        let mut rest = state
            .blobs
            .range((Bound::Excluded(after), Bound::Unbounded));
        let page = rest.by_ref().take(limit);
        let page = page.map(|(_, blob)| Arc::clone(blob)).collect();
        (page, rest.next().is_some())
    }

    /// Keeps changes from now on, or none any more. Returns the number of the next change.
    pub fn follow(&self, is_followed: bool) -> u64 {
        let mut state = self.lock();
        state.is_followed = is_followed;
        state.taken + u64::try_from(state.changes.len()).unwrap_or(u64::MAX)
    }

    /// Takes what happened since the last time. The registry is readable when there is something.
    pub fn changes(&self) -> Changes {
        self.news.take();
        let mut state = self.lock();
        let first = state.taken;
        let changes: Vec<Change> = state.changes.drain(..).collect();
        state.taken += u64::try_from(changes.len()).unwrap_or(u64::MAX);
        Changes {
            first,
            changes,
            lost: std::mem::take(&mut state.lost),
        }
    }

    fn note(&self, state: &mut State, change: Change) {
        if !state.is_followed {
            return;
        }
        let is_first = state.changes.is_empty();
        if state.changes.len() < MAX_CHANGES {
            state.changes.push_back(change);
        } else {
            state.lost = true;
        }
        if is_first {
            self.news.send();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsFd for Registry {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.news.as_fd()
    }
}

impl State {
    fn next_generation(&mut self, resource_id: u32) -> u32 {
        let place = usize::try_from(resource_id).unwrap_or(0) % GENERATIONS;
        match self.generations.get_mut(place) {
            Some(next) => std::mem::replace(next, next.saturating_add(1)),
            None => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(resource_id: u32) -> NewBlob {
        NewBlob {
            size: 4096,
            resource_id,
            context_id: 1,
            record: None,
        }
    }

    #[test]
    fn ids_are_not_used_again_and_what_is_gone_is_not_what_never_was() {
        let registry = Registry::new().unwrap();
        let first = registry.enter(blob(7));
        registry.remove(first);
        let second = registry.enter(blob(7));
        assert_ne!(first, second);
        assert_eq!(registry.get(first).unwrap_err(), Missing::Gone);
        assert_eq!(registry.get(second + 1).unwrap_err(), Missing::Unknown);
        assert_eq!(registry.get(0).unwrap_err(), Missing::Unknown);
        assert_eq!(registry.get(second).unwrap().generation, 1);
    }

    #[test]
    fn pages_have_each_blob_once() {
        let registry = Registry::new().unwrap();
        let ids: Vec<u64> = (0..5).map(|id| registry.enter(blob(id))).collect();
        let mut seen = Vec::new();
        let mut more = true;
        while more {
            let (page, goes_on) = registry.page(seen.last().copied().unwrap_or(0), 2);
            seen.extend(page.iter().map(|blob| blob.id));
            more = goes_on;
        }
        assert_eq!(seen, ids);
        assert_eq!(registry.page(u64::MAX, 2).0.len(), 0);
    }

    #[test]
    fn changes_are_kept_from_the_moment_they_are_followed() {
        let registry = Registry::new().unwrap();
        let before = registry.enter(blob(1));
        assert_eq!(registry.follow(true), 0);
        let after = registry.enter(blob(2));
        registry.remove(before);
        let changes = registry.changes();
        let expected = [Change::Created(after), Change::Destroyed(before)];
        assert_eq!((changes.first, changes.lost), (0, false));
        assert_eq!(changes.changes, expected);
        assert_eq!(registry.follow(false), 2);
        registry.remove(after);
        assert_eq!(registry.changes().changes, []);
    }

    #[test]
    fn changes_that_nobody_takes_are_bounded() {
        let registry = Registry::new().unwrap();
        registry.follow(true);
        for id in 0..2000 {
            registry.enter(blob(id));
        }
        let changes = registry.changes();
        assert_eq!(changes.changes.len(), MAX_CHANGES);
        assert!(changes.lost);
    }
}
