//! What can go wrong.

use std::path::PathBuf;
use std::time::Duration;

use coherd_protocol::sync::reply::ReplyError;
use coherd_protocol::sync::{Kind, Status};
use rustix::io::Errno;
use thiserror::Error;

use crate::file::FileError;

/// Why something did not work.
#[derive(Clone, Debug, Error)]
pub enum SyncError {
    /// Nobody listens at the path, or this process may not connect.
    #[error("cannot connect to {path}; is coherd running with --sync-socket?")]
    Connect {
        /// The path.
        path: PathBuf,
        /// What the kernel said.
        source: Errno,
    },
    /// The file is not a unix socket of type SOCK_SEQPACKET.
    #[error("not a SOCK_SEQPACKET unix socket")]
    NotASyncSocket,
    /// Whoever answered does not speak the protocol.
    #[error("the server does not speak the sync protocol")]
    NotASyncServer,
    /// The server has no version of the protocol in common with this library.
    #[error("the server's newest version of the sync protocol is {0}, this library has 1 only")]
    Version(u32),
    /// The connection ended: the server is gone, or closed it.
    #[error("the server closed the connection")]
    Disconnected,
    /// The socket failed.
    #[error("the sync socket failed")]
    Socket(#[source] Errno),
    /// The server did not answer in time. It may yet carry the request out.
    #[error("no answer to {request:?} within {limit:?}")]
    NoAnswer {
        /// The request.
        request: Kind,
        /// How long it was waited for.
        limit: Duration,
    },
    /// The server refused.
    #[error("{request:?} was refused: {status} ({detail:#x})")]
    Refused {
        /// The request.
        request: Kind,
        /// Why.
        status: Status,
        /// What the protocol's page says for this status.
        detail: u32,
    },
    /// The answer cannot be used.
    #[error("the answer to {0:?} is malformed")]
    Malformed(Kind, #[source] ReplyError),
    /// The answer came without the file that belongs to it.
    #[error("the answer to {0:?} has no file")]
    NoFile(Kind),
    /// The blob's file is not one that can be mapped without danger.
    #[error("the blob's file cannot be used")]
    File(#[from] FileError),
    /// The server says that the blob cannot be mapped.
    #[error("blob {0} cannot be mapped")]
    NotMappable(u64),
    /// The blob was opened for less.
    #[error("blob {0} was not opened to be written")]
    ReadOnly(u64),
    /// The kernel did not map the file.
    #[error("cannot map blob {blob}")]
    Map {
        /// The blob.
        blob: u64,
        /// What the kernel said.
        source: Errno,
    },
    /// The range has no bytes.
    #[error("a bracket has at least one byte")]
    Empty,
    /// The bytes are outside the blob, or outside the bracket.
    #[error("{len} bytes at {offset} are outside of {size} bytes")]
    OutOfRange {
        /// The first byte.
        offset: u64,
        /// How many.
        len: u64,
        /// How many there are.
        size: u64,
    },
    /// The connection has a watch already.
    #[error("the connection is watched already")]
    Watched,
}

impl SyncError {
    /// The status with which the server refused, if it did.
    #[must_use]
    pub fn status(&self) -> Option<Status> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Whether the GPU did not finish in time. Nothing is open then, and it can be tried again.
    #[must_use]
    pub fn is_timed_out(&self) -> bool {
        self.status() == Some(Status::TimedOut)
    }

    /// Whether the connection is of no further use.
    #[must_use]
    pub fn is_disconnected(&self) -> bool {
        matches!(self, Self::Disconnected | Self::Socket(_))
    }
}
