//! Brackets: START and END of CPU accesses to a blob, as in DMA_BUF_IOCTL_SYNC.
//!
//! Brackets make accesses coherent; they exclude nobody. Brackets of one holder nest, those of
//! several overlap. [`Brackets`] is the book of one blob: it does nothing itself but returns what
//! has to be done as [`Action`]s.
//!
//! What the caller does:
//! - It carries out the actions of a blob one at a time, in the order in which they were returned,
//!   whoever they are for, and then lets the holder go on.
//! - It reports of each pending bracket, once, [`Brackets::started`] or [`Brackets::failed`],
//!   and of each holder that is gone [`Brackets::abandon`].
//! - At [`Brackets::next_deadline`] it calls [`Brackets::expire`] and answers those who waited.
//!
//! What a holder promises:
//! - It accesses only bytes of the range, only as it said, and only between the two ends.
//! - With WRITE but without READ it writes every byte of the range. Those that it does not write
//!   are undefined from the moment the bracket is open. (READ fetches them, at a price: amdgpu
//!   and xe move video memory to RAM for it.)
//! - While a bracket with WRITE is open the device does not write to atoms that the range touches.

mod action;
mod book;
mod dma_buf;
mod entry;
mod mapped;
#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

use std::fmt;

use thiserror::Error;

pub use action::{Action, Edge, Means, dma_buf_sync_flags};
pub use book::Brackets;

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
/// until it is through, even if their holder is gone. With a total below that of all holders
/// together, some can keep others out.
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
    /// The holder may access the memory after these actions.
    Open(Vec<Action>),
    /// Nobody waits for it any more. What ends it has to be done; the bracket is gone.
    TooLate(Vec<Action>),
}
