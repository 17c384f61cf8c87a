//! A client of coherd's sync protocol: how a VMM, or another process of the host, reaches the
//! graphics memory of a VM and keeps what it sees of it right.
//!
//! coherd does the waiting, flushing and invalidating; this library asks it to, so that the bytes
//! of a blob are reachable only inside a bracket. It needs no GPU driver and starts no thread. The
//! protocol is in `docs/sync-protocol.md`; a C program has `include/coherd-sync.h`.
//!
//! ```no_run
//! use coherd_sync::{Access, Connection, Options};
//!
//! # fn main() -> Result<(), coherd_sync::SyncError> {
//! let connection = Connection::connect("/run/coherd/vm.sync", &Options::default())?;
//! for entry in connection.list()? {
//!     let blob = connection.open(entry.blob, Access::READ)?;
//!     let bytes = blob.map()?.read(..)?.to_vec();
//!     println!("{} has {} bytes", entry.blob, bytes.len());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Bytes are copied in and out and never borrowed, since a guest, a GPU or another peer may change
//! them at any time, also inside a bracket: brackets are about coherence and exclude nobody.

#![deny(unsafe_code)]

mod blob;
mod bracket;
mod bytes;
#[cfg(feature = "c")]
mod capi;
mod connection;
mod error;
mod file;
mod guard;
mod inbox;
mod info;
mod ledger;
mod mapping;
mod socket;
mod watch;

pub use coherd_protocol::blob_context::reply::MemoryFlags;
pub use coherd_protocol::memory::{Access, MemoryProperties};
pub use coherd_protocol::sync::reply::ReplyError;
pub use coherd_protocol::sync::wire::{
    Agreement, Capabilities, EntryFlags, HolderFlags, OpenFlags,
};
pub use coherd_protocol::sync::{Kind, Status};

pub use blob::Blob;
pub use connection::{Connection, Options};
pub use error::SyncError;
pub use file::FileError;
pub use guard::{ReadGuard, ReadWriteGuard, WriteGuard};
pub use info::{Backing, Caching, Entry, Image, Info, Memory, Plane};
pub use ledger::{Holder, HolderKind, Ledger};
pub use mapping::Mapping;
pub use watch::{Event, Watch};
