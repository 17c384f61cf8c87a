//! The control socket: the user coherd runs as, and root, have the device saved and read its
//! metrics through it.
//!
//! A client sends a word and a newline, and is answered in lines:
//! - `save`, with the file that the state is written to: `progress DONE TOTAL` in bytes any number
//!   of times, and at last `done`, or `error` and why.
//! - `metrics`: OpenMetrics text, whose last line is `# EOF`, or `error` and why.

mod client;
mod server;

use std::path::PathBuf;

use thiserror::Error;

pub use client::{metrics, save};
pub use server::ControlSocket;

/// What a client sends.
const SAVE: &[u8] = b"save\n";
const METRICS: &[u8] = b"metrics\n";
/// The last line of metrics.
const END_OF_METRICS: &str = "# EOF";
/// The words of answers.
const PROGRESS: &str = "progress";
const DONE: &str = "done";
const ERROR: &str = "error";

/// Why control does not work.
#[derive(Debug, Error)]
pub enum ControlError {
    /// Another process listens on the path.
    #[error("{0} is in use: another process listens on it")]
    InUse(PathBuf),
    /// The path is taken by something that is not a socket.
    #[error("{0} exists and is not a socket: choose another --control-socket")]
    NotASocket(PathBuf),
    /// The socket could not be made.
    #[error("cannot listen on {path}")]
    Bind {
        /// The path.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// There is no coherd at the path.
    #[error("cannot reach coherd at {path}: it has to run with --control-socket")]
    Connect {
        /// The path.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// The connection broke.
    #[error("coherd hung up")]
    HungUp(#[from] std::io::Error),
    /// It was not done.
    #[error("{0}")]
    Refused(String),
}
