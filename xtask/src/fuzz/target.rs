//! The fuzz targets.

use std::fmt;

use clap::ValueEnum;

/// A fuzz target: a program of the crate `tests/fuzz`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Target {
    /// Streams of blob contexts
    BlobContext,
    /// Decoding of requests, encoding of answers
    Decode,
    /// The whole device behind real queues
    Device,
    /// The loader of saved devices
    State,
    /// Answers of a server of the sync protocol, and what the client makes of them
    SyncClient,
    /// Messages of the sync protocol
    SyncDecode,
    /// Peers of the sync socket
    SyncSocket,
    /// The front-end's socket
    VhostUser,
    /// The window's table and the rules of mappings
    Window,
}

impl Target {
    /// Every target.
    pub const ALL: [Self; 9] = [
        Self::BlobContext,
        Self::Decode,
        Self::Device,
        Self::State,
        Self::SyncClient,
        Self::SyncDecode,
        Self::SyncSocket,
        Self::VhostUser,
        Self::Window,
    ];

    /// The name of its program and of its folders.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::BlobContext => "blob-context",
            Self::Decode => "decode",
            Self::Device => "device",
            Self::State => "state",
            Self::SyncClient => "sync-client",
            Self::SyncDecode => "sync-decode",
            Self::SyncSocket => "sync-socket",
            Self::VhostUser => "vhost-user",
            Self::Window => "window",
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
