//! The sync protocol: how host processes reach a VM's blobs and keep what they see of them right.
//!
//! The format is written down in `docs/sync-protocol.md`. Each message is one datagram of a
//! SOCK_SEQPACKET unix socket: a [`Header`], one of the structures of [`wire`], and for lists the
//! entries behind it. Requests are answered in any order, matched by tag; events come unasked.

pub mod event;
pub mod header;
pub mod limits;
pub mod reply;
pub mod request;
pub mod status;
pub mod text;
pub mod wire;

pub use event::Event;
pub use header::{Header, Kind};
pub use reply::Call;
pub use request::{Request, RequestError};
pub use status::Status;

/// The first bytes of HELLO and of its reply.
pub const MAGIC: [u8; 4] = *b"CHSY";

/// The version of the protocol that this crate has.
pub const VERSION: u32 = 1;
