//! What peers may have.

use std::time::Duration;

/// Connections.
pub const MAX_PEERS: usize = 256;

/// Connections that are not let in and have yet to be told.
pub const MAX_TURNED_AWAY: usize = 64;

/// Blobs that a connection may have open.
pub const MAX_OPEN: usize = 256;

/// Brackets that a connection may have.
pub const MAX_BRACKETS: usize = 1024;

/// Brackets that all connections may have together.
pub const MAX_ALL_BRACKETS: usize = 4096;

/// BEGINs of a connection that may wait.
pub const MAX_WAITING: usize = 64;

/// BEGINs of a connection that helpers may be busy with, cancelled ones included.
pub const MAX_WAITING_WORK: usize = 2 * MAX_WAITING;

/// Events that are kept for a peer that does not read.
pub const MAX_EVENTS: usize = 256;

/// Requests of a peer that are carried out before others have their turn.
pub const TURN: usize = 32;

/// Requests with files of peers, all of them together, that helpers have yet to finish.
pub const MAX_FILES: usize = 64;

/// Threads that use files of peers.
pub const FILE_USERS: usize = 4;

/// Threads that begin brackets.
pub const BEGINNERS: usize = 16;

/// Threads that end brackets.
pub const ENDERS: usize = 8;

/// How long the end of a bracket may wait for its blob.
pub const LONGEST_END: Duration = Duration::from_secs(2);
