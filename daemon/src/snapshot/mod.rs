//! The state of a device, saved to a stream and loaded from one: `docs/snapshot.md`.
//!
//! A thread of its own writes or reads the stream, so that neither the VMM's requests nor the
//! device thread wait for the other end. The device thread gives and takes what the device is
//! ([`State`]) and lends the memory ([`Piece`]), and stays still meanwhile.

pub mod contents;
mod error;
mod progress;
mod stalling;
mod state;
mod stream;
mod transfer;

pub use contents::{Bytes, Piece, Pixels, Store};
pub use error::SnapshotError;
pub use progress::Progress;
pub use state::{Parked, ResourceState, RingState, State};
pub use stream::{Reader, Writer};
pub use transfer::{Direction, Ending, Order, Transfer, Transfers};
