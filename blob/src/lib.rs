//! What a blob is, apart from who allocates it and who serves it.
//!
//! | module | concern |
//! |---|---|
//! | [`memory_type`] | how memory is cached, and what the guest is told |
//! | [`exporter`] | who exports an fd, and how an mmap of it is cached |
//! | [`guest_pat`] | what KVM makes of the guest's memory types |
//! | [`policy`] | what to do where these differ |
//! | [`venus_type`] | what a type reported by virglrenderer is worth |
//! | [`backing`] | the file behind a blob, and the checks that make it fit for a guest |
//! | [`ledger`] | who maps a blob, and with which type |
//! | [`bracket`] | flush and invalidate around CPU accesses |
//! | [`window`] | the host-visible window as a set of intervals |

#![forbid(unsafe_code)]

pub mod backing;
pub mod bracket;
pub mod exporter;
pub mod guest_pat;
pub mod ledger;
mod llvmpipe;
pub mod memory_type;
pub mod policy;
pub mod venus_type;
pub mod window;

pub use backing::{Backing, BackingError, FileId};
pub use bracket::{Action, BracketError, BracketId, Brackets};
pub use coherd_protocol::memory::{Access, MemoryProperties};
pub use exporter::Exporter;
pub use ledger::{Holder, Ledger};
pub use memory_type::{MapInfo, MemoryType};
pub use policy::{Decision, MismatchPolicy};
pub use window::{Mapping, MappingState, Window, WindowError};
