//! The sync protocol: other processes of the host reach the guest's blobs, as
//! `docs/sync-protocol.md` has it.
//!
//! One thread serves all peers and waits for none of them; what may block is done by helpers. The
//! device knows nothing of peers: it enters blobs in the [`Registry`], and what a peer does to one
//! goes through its [`BlobRecord`].
//!
//! [`Registry`]: crate::coherence::Registry
//! [`BlobRecord`]: crate::coherence::BlobRecord

pub mod allow;
mod datagram;
mod files;
mod helpers;
mod jobs;
pub mod limits;
mod listen;
mod outbox;
mod peer;
mod request;
mod server;

pub use allow::{Allow, AllowList};
pub use listen::{SyncListenError, SyncSocket};
pub use server::{SyncError, SyncServer};
