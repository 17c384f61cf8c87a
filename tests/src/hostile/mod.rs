//! A guest that does what no driver does.
//!
//! Everything is drawn from an [`arbitrary::Unstructured`], so that a fuzzer and a seeded test
//! make the same guests: `command` makes commands, right and wrong, whose small ids refer to
//! each other, `chain` lays them out in descriptors, right and wrong, and [`Guest`] puts them
//! into two virtqueues, breaks the rings, and checks what comes back as far as it has not spoilt
//! the evidence.

mod belief;
mod breach;
mod chain;
mod command;
mod draw;
mod guest;
mod slots;

pub use breach::Breach;
pub use guest::{Guest, Score, Temper};
pub use slots::ram_for;
