//! Why the driver could not do what a test asked.

use rustix::io::Errno;
use thiserror::Error;

use super::virtqueue::VirtqueueError;

/// Why the driver could not do what a test asked.
#[derive(Debug, Error)]
pub enum DriverError {
    /// The device refused a command.
    #[error("command {command:#06x} was refused with {code:#06x}")]
    Refused {
        /// The command.
        command: u32,
        /// The response code.
        code: u32,
    },
    /// The device answered with a success that does not belong to the command, or with too few
    /// bytes.
    #[error("command {command:#06x} was answered with {code:#06x} and {len} bytes")]
    BadAnswer {
        /// The command.
        command: u32,
        /// The response code.
        code: u32,
        /// Bytes of the answer.
        len: usize,
    },
    /// A command of a blob context has no reply, or one that is too short.
    #[error("command of a blob context has no reply")]
    NoReply,
    /// The command was not answered in time.
    #[error("command was not answered in time")]
    Timeout,
    /// The token was waited for already, or belongs to another driver.
    #[error("no command {0} in flight")]
    UnknownToken(u64),
    /// The front-end has too few queues.
    #[error("no queue {0}")]
    NoQueue(usize),
    /// Guest RAM is used up.
    #[error("out of guest pages")]
    OutOfPages,
    /// A buffer is too long for a descriptor.
    #[error("buffer of {0} bytes is too long")]
    TooLong(usize),
    /// The queue failed.
    #[error("virtqueue failed")]
    Virtqueue(#[from] VirtqueueError),
    /// Guest memory could not be accessed.
    #[error("guest memory access failed")]
    Memory(#[from] vm_memory::GuestMemoryError),
    /// A kick or an interrupt failed.
    #[error("event file descriptor failed")]
    Event(#[from] Errno),
}
