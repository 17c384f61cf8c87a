//! Why an operation of the front-end failed.

use std::io;

use rustix::io::Errno;
use thiserror::Error;
use vhost::vhost_user::message::FrontendReq;

use super::fault::Fault;
use super::memory::MemoryError;
use super::message::MessageError;

/// Why an operation of the front-end failed.
#[derive(Debug, Error)]
pub enum FrontendError {
    /// The backend's socket could not be connected to.
    #[error("connecting to the backend failed")]
    Connect(#[source] io::Error),
    /// A message could not be exchanged.
    #[error("{request:?} failed")]
    Message {
        /// The request.
        request: FrontendReq,
        /// What went wrong.
        source: MessageError,
    },
    /// The backend answered with something else than the answer.
    #[error("answer to {request:?} is malformed: {what}")]
    BadAnswer {
        /// The request.
        request: FrontendReq,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The backend acknowledged a request with an error.
    #[error("backend refused {request:?} with {code}")]
    Refused {
        /// The request.
        request: FrontendReq,
        /// The code, not zero.
        code: u64,
    },
    /// The backend lacks something the VMM insists on.
    #[error("backend does not offer {0}")]
    Missing(&'static str),
    /// QEMU cannot describe this many regions to a backend; the device stays stopped.
    #[error("memory table of {0} regions does not fit")]
    TableFull(usize),
    /// The device is running, or not, against what the operation needs.
    #[error("device is {0}")]
    State(&'static str),
    /// The configuration asks for something the harness cannot set up.
    #[error("unusable configuration: {0}")]
    Config(&'static str),
    /// Guest memory failed.
    #[error("guest memory failed")]
    Memory(#[from] MemoryError),
    /// An event file descriptor failed.
    #[error("event file descriptor failed")]
    Event(#[from] Errno),
    /// The VMM is dead.
    #[error("VMM is dead")]
    Dead(#[from] Fault),
}
