//! Brackets: START and END of CPU accesses to a blob, as in DMA_BUF_IOCTL_SYNC.
//!
//! Brackets make accesses coherent; they exclude nobody. Brackets of one holder nest, those of
//! several overlap. [`Brackets`] is the book of one blob: it does nothing itself but returns what
//! has to be done as [`Action`]s.
//!
//! What a holder promises:
//! - It accesses only bytes of the range, only as it said, and only between the two ends.
//! - With WRITE but without READ it writes every byte of the range. Those that it does not write
//!   are undefined. (A START with READ would fetch them, at a price: amdgpu and xe move video
//!   memory to RAM for it.)
//! - While a bracket with WRITE is open the device does not write to atoms that the range touches.

mod action;
mod dma_buf;
mod mapped;
#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::time::Instant;

use coherd_protocol::memory::Access;
use thiserror::Error;

pub use action::{Action, Edge, Means, dma_buf_sync_flags};

use crate::ledger::Holder;

/// Why a bracket cannot begin or end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BracketError {
    /// Neither READ nor WRITE, or an unknown bit.
    #[error("access {0:#x} is not READ, WRITE or both")]
    Access(u32),
    /// The range is empty or leaves the blob.
    #[error("bytes {start:#x} to {end:#x} are not a range of a blob of {size:#x} bytes")]
    Range {
        /// First byte.
        start: u64,
        /// The byte after the last one.
        end: u64,
        /// Bytes of the blob.
        size: u64,
    },
    /// The holder, or all together, have too many open brackets.
    #[error("all {0} brackets are open, end one first")]
    TooMany(usize),
    /// The holder has no such bracket, or it ended.
    #[error("no such bracket")]
    Unknown,
    /// The START of the bracket is not complete.
    #[error("the bracket has not started")]
    NotStarted,
}

/// Names one bracket of one blob; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BracketId(u64);

impl BracketId {
    /// The bracket that a peer names.
    pub fn from_raw(raw: u64) -> Self {
        Self(raw)
    }

    /// The number for a peer, never 0.
    pub fn to_raw(self) -> u64 {
        self.0
    }
}

impl fmt::Display for BracketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How many brackets of one blob may be open at a time. Those whose START is still at work count
/// until it is through, even if their holder is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Of one holder.
    pub per_holder: usize,
    /// Of all.
    pub total: usize,
}

/// A bracket that begins.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "the actions have to be carried out"]
pub struct Begun {
    /// Its name.
    pub id: BracketId,
    /// What to do before the holder may access the memory.
    pub actions: Vec<Action>,
    /// Whether a START may block, so that [`Brackets::started`] or [`Brackets::failed`] has to
    /// follow. Otherwise the bracket is open.
    pub pending: bool,
}

/// What became of a START.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "the actions have to be carried out"]
pub enum Started {
    /// The holder may access the memory.
    Open,
    /// Nobody waits for it any more. What ends it has to be done; the bracket is gone.
    TooLate(Vec<Action>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Its START is at work, until then.
    Starting(Instant),
    /// Its START is at work, but nobody waits for it.
    Given,
    /// The holder may access the memory.
    Open,
}

#[derive(Clone, Debug)]
struct Bracket {
    holder: Holder,
    access: Access,
    range: Range<u64>,
    state: State,
}

impl Bracket {
    /// Whether its holder writes, or is going to.
    fn writes(&self) -> bool {
        self.access.contains(Access::WRITE) && self.state != State::Given
    }
}

/// The brackets of one blob.
#[derive(Debug)]
pub struct Brackets {
    means: Means,
    size: u64,
    limits: Limits,
    last: u64,
    brackets: BTreeMap<BracketId, Bracket>,
    /// Accesses whose END is left to the END of the last writer. Dma-bufs only.
    deferred: Access,
}

impl Brackets {
    /// The book of a blob of `size` bytes.
    pub fn new(means: Means, size: u64, limits: Limits) -> Self {
        Self {
            means,
            size,
            limits,
            last: 0,
            brackets: BTreeMap::new(),
            deferred: Access::empty(),
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
        let (actions, pending) = match self.means {
            Means::DmaBuf => (dma_buf::start(access, self.writers()), true),
            Means::Mapped { atom } => {
                let writers = self.writing().map(|bracket| &bracket.range);
                let atoms = mapped::Atoms::new(atom, self.size);
                (mapped::start(atoms, access, &range, writers), false)
            }
            Means::Coherent => (vec![Action::Order], false),
        };
        let state = match pending {
            true => State::Starting(deadline),
            false => State::Open,
        };
        self.last += 1;
        let id = BracketId(self.last);
        let bracket = Bracket {
            holder,
            access,
            range,
            state,
        };
        self.brackets.insert(id, bracket);
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
        let own = |bracket: &&Bracket| bracket.holder == holder;
        let Limits { per_holder, total } = self.limits;
        if self.brackets.len() >= total {
            return Err(BracketError::TooMany(total));
        }
        if self.brackets.values().filter(own).count() >= per_holder {
            return Err(BracketError::TooMany(per_holder));
        }
        Ok(())
    }

    /// The START of a pending bracket succeeded.
    ///
    /// # Errors
    /// [`BracketError::Unknown`] if no START of that name is at work.
    pub fn started(&mut self, id: BracketId) -> Result<Started, BracketError> {
        let bracket = self.brackets.get_mut(&id).ok_or(BracketError::Unknown)?;
        match bracket.state {
            State::Open => Err(BracketError::Unknown),
            State::Starting(_) => {
                bracket.state = State::Open;
                Ok(Started::Open)
            }
            State::Given => Ok(Started::TooLate(self.remove(&[id]))),
        }
    }

    /// The actions of a beginning bracket failed: it is gone, and no END follows. Returns what has
    /// to be done for those that are open.
    ///
    /// # Errors
    /// [`BracketError::Unknown`]
    pub fn failed(&mut self, id: BracketId) -> Result<Vec<Action>, BracketError> {
        self.brackets.remove(&id).ok_or(BracketError::Unknown)?;
        match self.means {
            // Its actions may have ended the writers' START.
            Means::DmaBuf if self.writers() => Ok(vec![Action::start(Access::WRITE)]),
            _ => Ok(Vec::new()),
        }
    }

    /// Ends a bracket. The actions may contain a START, for others who still write.
    ///
    /// # Errors
    /// [`BracketError::Unknown`] or [`BracketError::NotStarted`].
    pub fn end(&mut self, holder: Holder, id: BracketId) -> Result<Vec<Action>, BracketError> {
        match self.brackets.get(&id) {
            Some(bracket) if bracket.holder == holder => match bracket.state {
                State::Open => Ok(self.remove(&[id])),
                State::Starting(_) => Err(BracketError::NotStarted),
                State::Given => Err(BracketError::Unknown),
            },
            _ => Err(BracketError::Unknown),
        }
    }

    /// Ends what a holder who is gone left open. A START that is at work ends when it is through.
    pub fn abandon(&mut self, holder: Holder) -> Vec<Action> {
        self.abandon_where(|bracket| bracket.holder == holder)
    }

    /// Ends everything, as the blob is going to be destroyed.
    pub fn abandon_all(&mut self) -> Vec<Action> {
        self.abandon_where(|_| true)
    }

    fn abandon_where(&mut self, gone: impl Fn(&Bracket) -> bool) -> Vec<Action> {
        let mut open = Vec::new();
        for (&id, bracket) in self
            .brackets
            .iter_mut()
            .filter(|(_, bracket)| gone(bracket))
        {
            match bracket.state {
                State::Open => open.push(id),
                State::Starting(_) | State::Given => bracket.state = State::Given,
            }
        }
        self.remove(&open)
    }

    /// Gives up every START whose deadline is `now` or earlier and returns whose they are, so that
    /// the holder is told. A START that is given up ends when it is through.
    pub fn expire(&mut self, now: Instant) -> Vec<(Holder, BracketId)> {
        let mut expired = Vec::new();
        for (&id, bracket) in &mut self.brackets {
            if matches!(bracket.state, State::Starting(deadline) if deadline <= now) {
                bracket.state = State::Given;
                expired.push((bracket.holder, id));
            }
        }
        expired
    }

    /// When [`Brackets::expire`] has something to do.
    pub fn next_deadline(&self) -> Option<Instant> {
        let deadline = |bracket: &Bracket| match bracket.state {
            State::Starting(deadline) => Some(deadline),
            _ => None,
        };
        self.brackets.values().filter_map(deadline).min()
    }

    /// Brackets that are open or starting, given up ones included.
    pub fn len(&self) -> usize {
        self.brackets.len()
    }

    /// Whether nothing is open or starting.
    pub fn is_empty(&self) -> bool {
        self.brackets.is_empty()
    }

    fn writing(&self) -> impl Iterator<Item = &Bracket> {
        self.brackets.values().filter(|bracket| bracket.writes())
    }

    fn writers(&self) -> bool {
        self.writing().next().is_some()
    }

    /// Takes brackets out of the book and returns what ends them.
    fn remove(&mut self, ids: &[BracketId]) -> Vec<Action> {
        let gone: Vec<Bracket> = ids
            .iter()
            .filter_map(|id| self.brackets.remove(id))
            .collect();
        if gone.is_empty() {
            return Vec::new();
        }
        match self.means {
            Means::DmaBuf => {
                let access = gone
                    .iter()
                    .fold(Access::empty(), |all, bracket| all | bracket.access);
                let writers = self.writers();
                dma_buf::end(access, writers, &mut self.deferred)
            }
            Means::Mapped { atom } => {
                let written = gone.iter().filter(|bracket| bracket.writes());
                let ranges = written.map(|bracket| &bracket.range);
                mapped::end(mapped::Atoms::new(atom, self.size), ranges)
            }
            Means::Coherent => vec![Action::Order],
        }
    }
}
