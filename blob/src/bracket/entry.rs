//! One bracket.

use std::ops::Range;
use std::time::Instant;

use coherd_protocol::memory::Access;

use crate::ledger::Holder;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Its START is at work; until then somebody waits for it.
    Starting(Instant),
    /// Its START is at work, but nobody waits for it.
    GivenUp,
    /// The holder may access the memory.
    Open,
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub holder: Holder,
    pub access: Access,
    pub range: Range<u64>,
    pub state: State,
}

impl Entry {
    /// Whether its holder writes, or waits to.
    pub fn writes(&self) -> bool {
        self.access.contains(Access::WRITE) && self.state != State::GivenUp
    }

    /// What its holder may be writing.
    pub fn written(&self) -> Option<&Range<u64>> {
        let writes = self.state == State::Open && self.access.contains(Access::WRITE);
        writes.then_some(&self.range)
    }

    /// Until when somebody waits for its START.
    pub fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Starting(deadline) => Some(deadline),
            State::GivenUp | State::Open => None,
        }
    }
}
