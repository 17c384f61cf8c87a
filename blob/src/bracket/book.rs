//! The brackets of one blob.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Instant;

use coherd_protocol::memory::Access;

use super::action::{Action, Means};
use super::dma_buf::Exporter;
use super::entry::{Entry, State};
use super::mapped::{self, Atoms};
use super::{Begun, BracketError, BracketId, Limits, Started};
use crate::ledger::Holder;

/// The brackets of one blob.
#[derive(Debug)]
pub struct Brackets {
    means: Means,
    size: u64,
    limits: Limits,
    last: u64,
    entries: BTreeMap<BracketId, Entry>,
    exporter: Exporter,
}

impl Brackets {
    /// The book of a blob of `size` bytes.
    pub fn new(means: Means, size: u64, limits: Limits) -> Self {
        Self {
            means,
            size,
            limits,
            last: 0,
            entries: BTreeMap::new(),
            exporter: Exporter::default(),
        }
    }

    /// Begins a bracket of `holder` over the bytes of `range`. If a START has to wait, nobody does
    /// so after `deadline`; see [`Brackets::expire`].
    ///
    /// # Errors
    /// See [`BracketError`]; nothing has begun.
    pub fn begin(
        &mut self,
        holder: Holder,
        access: Access,
        range: Range<u64>,
        deadline: Instant,
    ) -> Result<Begun, BracketError> {
        self.check(holder, access, &range)?;
        let pending = self.means.dma_buf();
        let (actions, state) = if pending {
            let writers = self.writers();
            let actions = self.exporter.start(access, writers);
            (actions, State::Starting(deadline))
        } else {
            (self.refresh(access, &range), State::Open)
        };
        self.last += 1;
        let id = BracketId::from_raw(self.last);
        let entry = Entry {
            holder,
            access,
            range,
            state,
        };
        self.entries.insert(id, entry);
        Ok(Begun {
            id,
            actions,
            pending,
        })
    }

    fn check(
        &self,
        holder: Holder,
        access: Access,
        range: &Range<u64>,
    ) -> Result<(), BracketError> {
        if access.is_empty() || !Access::all().contains(access) {
            return Err(BracketError::Access(access.bits()));
        }
        if range.is_empty() || range.end > self.size {
            return Err(BracketError::Range {
                start: range.start,
                end: range.end,
                size: self.size,
            });
        }
        let Limits { per_holder, total } = self.limits;
        if self.entries.len() >= total {
            return Err(BracketError::TooMany(total));
        }
        let own = |entry: &&Entry| entry.holder == holder;
        if self.entries.values().filter(own).count() >= per_holder {
            return Err(BracketError::TooMany(per_holder));
        }
        Ok(())
    }

    /// The START of a pending bracket succeeded.
    ///
    /// # Errors
    /// [`BracketError::Unknown`] if no START of that name is at work.
    pub fn started(&mut self, id: BracketId) -> Result<Started, BracketError> {
        let entry = self.entries.get(&id).ok_or(BracketError::Unknown)?;
        match entry.state {
            State::Open => Err(BracketError::Unknown),
            State::GivenUp => {
                self.exporter.started(entry.access);
                Ok(Started::TooLate(self.remove(&[id])))
            }
            State::Starting(_) => {
                self.exporter.started(entry.access);
                let actions = match self.means.atom() {
                    Some(_) => self.refresh(entry.access, &entry.range),
                    None => Vec::new(),
                };
                if let Some(entry) = self.entries.get_mut(&id) {
                    entry.state = State::Open;
                }
                Ok(Started::Open(actions))
            }
        }
    }

    /// The START of a pending bracket failed, or another of the actions that begin a bracket: it
    /// is gone. Returns what has to be done then.
    ///
    /// # Errors
    /// [`BracketError::Unknown`]
    pub fn failed(&mut self, id: BracketId) -> Result<Vec<Action>, BracketError> {
        let entry = self.entries.remove(&id).ok_or(BracketError::Unknown)?;
        Ok(match entry.state {
            _ if !self.means.dma_buf() => Vec::new(),
            State::Open => {
                let writers = self.writers();
                self.exporter.end(entry.access, writers)
            }
            State::Starting(_) | State::GivenUp if self.is_empty() => self.exporter.failed(),
            State::Starting(_) | State::GivenUp => Vec::new(),
        })
    }

    /// Ends a bracket. The actions may contain a START, for others who still write.
    ///
    /// # Errors
    /// [`BracketError::Unknown`] or [`BracketError::NotStarted`].
    pub fn end(&mut self, holder: Holder, id: BracketId) -> Result<Vec<Action>, BracketError> {
        let own = self.entries.get(&id).filter(|entry| entry.holder == holder);
        match own.map(|entry| entry.state) {
            Some(State::Open) => Ok(self.remove(&[id])),
            Some(State::Starting(_)) => Err(BracketError::NotStarted),
            Some(State::GivenUp) | None => Err(BracketError::Unknown),
        }
    }

    /// Ends what a holder who is gone left open. A START that is at work ends when it is through.
    pub fn abandon(&mut self, holder: Holder) -> Vec<Action> {
        self.abandon_where(|entry| entry.holder == holder)
    }

    /// Ends everything, as the blob is going to be destroyed.
    pub fn abandon_all(&mut self) -> Vec<Action> {
        self.abandon_where(|_| true)
    }

    fn abandon_where(&mut self, gone: impl Fn(&Entry) -> bool) -> Vec<Action> {
        let mut open = Vec::new();
        for (&id, entry) in self.entries.iter_mut().filter(|(_, entry)| gone(entry)) {
            match entry.state {
                State::Open => open.push(id),
                State::Starting(_) | State::GivenUp => entry.state = State::GivenUp,
            }
        }
        self.remove(&open)
    }

    /// Gives up every START whose deadline is `now` or earlier and returns whose they are, so that
    /// the holders are told. A START that is given up ends when it is through.
    pub fn expire(&mut self, now: Instant) -> Vec<(Holder, BracketId)> {
        let late = |entry: &Entry| entry.deadline().is_some_and(|deadline| deadline <= now);
        let mut expired = Vec::new();
        for (&id, entry) in self.entries.iter_mut().filter(|(_, entry)| late(entry)) {
            entry.state = State::GivenUp;
            expired.push((entry.holder, id));
        }
        expired
    }

    /// When [`Brackets::expire`] has something to do.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.entries.values().filter_map(Entry::deadline).min()
    }

    /// Brackets that are open or starting, given up ones included.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is open or starting.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether somebody writes, or waits to.
    fn writers(&self) -> bool {
        self.entries.values().any(Entry::writes)
    }

    /// What makes the CPU's view fresh for a bracket that opens.
    fn refresh(&self, access: Access, range: &Range<u64>) -> Vec<Action> {
        let Some(atom) = self.means.atom() else {
            return vec![Action::Order];
        };
        let written = self.entries.values().filter_map(Entry::written);
        mapped::start(Atoms::new(atom, self.size), access, range, written)
    }

    /// Takes brackets out of the book and returns what ends them.
    fn remove(&mut self, ids: &[BracketId]) -> Vec<Action> {
        let gone: Vec<Entry> = ids
            .iter()
            .filter_map(|id| self.entries.remove(id))
            .collect();
        let Some(access) = gone.iter().map(|entry| entry.access).reduce(Access::union) else {
            return Vec::new();
        };
        let mut actions = Vec::new();
        if let Some(atom) = self.means.atom() {
            let written = gone.iter().filter_map(Entry::written);
            actions.extend(mapped::end(Atoms::new(atom, self.size), written));
        }
        if self.means.dma_buf() {
            let writers = self.writers();
            actions.extend(self.exporter.end(access, writers));
        } else if actions.is_empty() {
            actions.push(Action::Order);
        }
        actions
    }
}
