//! The blob context, capset 28: memory by property for guests, and the means to keep it right.
//!
//! The format is written down in `docs/blob-context.md`. A guest finds out from the [`capset`]
//! what memory there is, sends [`command`]s with SUBMIT_3D and reads a [`reply`] to each from
//! memory of its own.

pub mod capset;
pub mod command;
pub mod limits;
pub mod reply;
mod stream;

pub use capset::Capset;
pub use command::Command;
pub use reply::Status;
pub use stream::{Request, Stream, StreamBuilder, StreamError};

/// The capset id of the blob context.
pub const CAPSET_BLOB: u32 = 28;

/// The version of capset and commands that this crate has.
pub const VERSION: u32 = 1;
