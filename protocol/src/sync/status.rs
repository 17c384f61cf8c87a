//! How a request ended.

use thiserror::Error;

/// The status of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[repr(u32)]
pub enum Status {
    /// It was carried out.
    #[error("carried out")]
    Ok = 0,
    /// The message has a value that the format or the blob's size forbids.
    #[error("invalid message")]
    Invalid = 1,
    /// No request has this kind.
    #[error("unknown request")]
    UnknownRequest = 2,
    /// Server and peer have no version in common.
    #[error("no common version")]
    Version = 3,
    /// This peer may not do this.
    #[error("not allowed")]
    Denied = 4,
    /// The server, or this blob's memory, cannot do this.
    #[error("not supported")]
    Unsupported = 5,
    /// No blob has this id, nor had one.
    #[error("no such blob")]
    UnknownBlob = 6,
    /// The blob was destroyed.
    #[error("blob was destroyed")]
    Gone = 7,
    /// The connection has no such blob, or no such bracket, open.
    #[error("not open on this connection")]
    NotOpen = 8,
    /// The connection has the blob open already, or the bracket's id is zero or taken.
    #[error("open already")]
    InUse = 9,
    /// The GPU did not finish in time. Nothing was begun.
    #[error("timed out")]
    TimedOut = 10,
    /// The peer ended or closed what it was waiting for.
    #[error("cancelled")]
    Cancelled = 11,
    /// A limit of the server or of this connection is reached.
    #[error("over a limit")]
    OverLimit = 12,
    /// The host is out of memory or of files.
    #[error("host is out of memory or files")]
    OutOfMemory = 13,
    /// The GPU was lost. Memory stays mapped; what the GPU had not written is missing.
    #[error("device was lost")]
    DeviceLost = 14,
    /// The host's policy about memory types that do not agree forbids it.
    #[error("refused by the policy about memory types")]
    Refused = 15,
    /// It failed and the server's log says why.
    #[error("failed")]
    Failed = 16,
}

impl Status {
    /// Every status.
    pub const ALL: [Self; 17] = [
        Self::Ok,
        Self::Invalid,
        Self::UnknownRequest,
        Self::Version,
        Self::Denied,
        Self::Unsupported,
        Self::UnknownBlob,
        Self::Gone,
        Self::NotOpen,
        Self::InUse,
        Self::TimedOut,
        Self::Cancelled,
        Self::OverLimit,
        Self::OutOfMemory,
        Self::DeviceLost,
        Self::Refused,
        Self::Failed,
    ];

    /// The word in a reply.
    pub fn to_wire(self) -> u32 {
        self as u32
    }

    /// The status of a word; those of later versions are failures.
    pub fn from_wire(value: u32) -> Self {
        Self::ALL
            .into_iter()
            .find(|status| *status as u32 == value)
            .unwrap_or(Self::Failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_is_found_by_its_word_and_unknown_ones_are_failures() {
        for status in Status::ALL {
            assert_eq!(Status::from_wire(status.to_wire()), status);
        }
        assert_eq!(Status::from_wire(17), Status::Failed);
        assert_eq!(Status::from_wire(u32::MAX), Status::Failed);
    }
}
