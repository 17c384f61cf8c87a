//! What a blob is, apart from who allocates it and who serves it.
//!
//! Memory types and what the guest is told about them, the file behind a blob and the checks that
//! make it fit to be mapped into a guest, and the host-visible window as a set of intervals.

#![forbid(unsafe_code)]

pub mod backing;
mod llvmpipe;
pub mod memory_type;
pub mod window;

pub use backing::{Backing, BackingError, FileId};
pub use memory_type::MapInfo;
pub use window::{Mapping, MappingState, Window, WindowError};
