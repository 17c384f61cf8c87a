//! The exact actions of each transition, and every refusal.

use std::ops::Range;
use std::time::{Duration, Instant};

use coherd_protocol::memory::Access;

use super::*;
use crate::ledger::Holder;

mod dma_buf;
mod mapped;
mod refusal;

const SIZE: u64 = 1000;
const READ: Access = Access::READ;
const WRITE: Access = Access::WRITE;
const BOTH: Access = Access::READ.union(Access::WRITE);
const A: Holder = Holder::Peer(1);
const B: Holder = Holder::Peer(2);
const MAPPED: Means = Means::Mapped { atom: 64 };
const LIMITS: Limits = Limits {
    per_holder: 8,
    total: 16,
};

fn book(means: Means) -> Brackets {
    Brackets::new(means, SIZE, LIMITS)
}

fn begin(book: &mut Brackets, holder: Holder, access: Access, range: Range<u64>) -> Begun {
    book.begin(holder, access, range, Instant::now()).unwrap()
}

/// Begins a bracket and leaves it so.
fn hold(book: &mut Brackets, holder: Holder, access: Access, range: Range<u64>) {
    let _ = begin(book, holder, access, range);
}

/// Begins a bracket of the whole blob on a dma-buf whose START succeeds.
fn open(book: &mut Brackets, holder: Holder, access: Access) -> BracketId {
    let begun = begin(book, holder, access, 0..SIZE);
    assert!(begun.pending);
    assert_eq!(book.started(begun.id), Ok(Started::Open(vec![])));
    begun.id
}

fn start(access: Access) -> Action {
    Action::start(access)
}

fn stop(access: Access) -> Action {
    Action::end(access)
}
