//! Copies and fills by the GPU.
//!
//! All of a device's go to one queue and are executed one after the other, in the order in which
//! they were given. What they use is kept until they are complete, and let go of when the next
//! one is given, one is waited for, or memory is allocated.

mod check;
mod completion;
mod error;
mod queue;
mod record;
mod submission;
mod sync_file;

pub use error::{SyncFileError, TransferError, WaitError};
pub use submission::Submission;

pub(crate) use check::{copy, fill};
pub(crate) use queue::Queue;
