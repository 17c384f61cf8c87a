//! Bounds that hold for every server and peer.

use super::header::Header;
use super::wire::{Described, Entry, Holder, ListHead};

/// Bytes of a message, whoever sends it.
pub const MAX_MESSAGE: usize = 4096;

/// Files that come with a message.
pub const MAX_FDS: usize = 1;

/// Bytes of a name, its nuls included.
pub const NAME_LEN: usize = 32;

/// Entries that a reply to LIST has room for.
pub const MAX_ENTRIES: usize =
    (MAX_MESSAGE - size_of::<Header>() - size_of::<ListHead>()) / size_of::<Entry>();

/// Holders that a reply to DESCRIBE has room for.
pub const MAX_HOLDERS: usize =
    (MAX_MESSAGE - size_of::<Header>() - size_of::<Described>()) / size_of::<Holder>();

/// Milliseconds that a BEGIN may wait, whatever the peer asks for.
pub const MAX_TIMEOUT_MS: u32 = 10_000;

/// Milliseconds that a BEGIN waits if the peer does not say.
pub const DEFAULT_TIMEOUT_MS: u32 = 5_000;
