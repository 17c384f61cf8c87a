//! What a device did wrong.

use coherd_protocol::gpu::header::Fence;
use thiserror::Error;

use crate::driver::VirtqueueError;

/// What a device did wrong, on rings that its guest has not spoilt.
#[derive(Debug, Error)]
pub enum Breach {
    /// The ring cannot be read, or holds a chain that was not offered or came back before.
    #[error("queue {queue} holds no valid chain")]
    Ring {
        /// The queue.
        queue: usize,
        /// What is wrong with it.
        source: VirtqueueError,
    },
    /// More bytes than there was room for, or part of a header.
    #[error("answer of {used} bytes in room for {room}")]
    Length {
        /// Bytes the device says it wrote.
        used: u32,
        /// Bytes of room.
        room: u32,
    },
    /// A code that VIRTIO does not have.
    #[error("command {command:#06x} was answered with {code:#06x}")]
    Code {
        /// The command.
        command: u32,
        /// The response code.
        code: u32,
    },
    /// The answer does not repeat the fence of its command.
    #[error("command with {asked:?} was answered with {answered:?}")]
    Fence {
        /// What the command asked for.
        asked: Option<Fence>,
        /// What the answer has.
        answered: Option<Fence>,
    },
    /// Chains never came back.
    #[error("{0} chains were not returned")]
    Lost(usize),
}
