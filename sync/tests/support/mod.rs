//! A server to test against.
//!
//! Its blobs have two sides, as memory that is not coherent has: the peer gets a file with the
//! CPU's side, the GPU works on the other, and only brackets copy between the two. A peer that
//! forgets one reads and leaves old bytes, every time.

#![allow(dead_code, unused_imports, reason = "each test uses a part")]

mod blob;
mod moving;
mod peer;
mod server;

pub use blob::{HEADER, Recipe, contents};
pub use moving::{deps, moves_memory, run, server};
pub use server::{Fake, Rules};

use std::time::Duration;

/// Longer than anything takes that works.
pub const PATIENCE: Duration = Duration::from_secs(20);
