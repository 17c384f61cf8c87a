//! Why a state is not saved or not loaded.

use std::io;
use std::time::Duration;

use coherd_protocol::gpu::GpuError;
use thiserror::Error;

use crate::coherence::AccessError;
use crate::renderer::RendererError;

/// Why a state is not saved or not loaded.
#[derive(Debug, Error)]
pub enum SnapshotError {
    /// The guest uses what nobody can save.
    #[error(
        "cannot save {0}: nobody can save the state of such a renderer; end the guest's programs \
         that use it and try again"
    )]
    Unsavable(String),
    /// The GPU does not finish what it was given.
    #[error("{0} still wait for the GPU after {1:?}; try again when the guest has less to do")]
    Busy(String, Duration),
    /// Another transfer is under way.
    #[error("another state is being saved or loaded")]
    InProgress,
    /// The device runs, or began to.
    #[error("the device runs; stop it before its state is saved or loaded")]
    Running,
    /// The device thread is gone, or stuck.
    #[error("the device does not answer")]
    Ended,
    /// The state could not be written or read.
    #[error("cannot transfer the state")]
    Transfer(#[from] io::Error),
    /// The stream ends in the middle.
    #[error("the state is truncated: it ends in section {0}")]
    Truncated(u64),
    /// It is something else.
    #[error("this is no state of coherd's")]
    NotAState,
    /// It is of a version that does not exist yet.
    #[error(
        "the state is of version {found}, and this coherd knows version {known}: use a newer one"
    )]
    Newer {
        /// Version of the state.
        found: u32,
        /// Version known here.
        known: u32,
    },
    /// Bytes changed on the way.
    #[error("the state is damaged in section {0}: its checksum is wrong")]
    Damaged(u64),
    /// It says what cannot be.
    #[error("the state cannot be: {0}")]
    Impossible(&'static str),
    /// It is for a device with other settings.
    #[error(
        "the state is of a device with {what} {theirs}, and this one has {ours}; start coherd with {option}"
    )]
    Unlike {
        /// What differs.
        what: &'static str,
        /// What the state has.
        theirs: String,
        /// What this device has.
        ours: String,
        /// What to change.
        option: &'static str,
    },
    /// It is more than a guest may have.
    #[error("the state is over a quota")]
    Quota(#[from] GpuError),
    /// The renderer does not make what was saved.
    #[error("cannot make {what} again")]
    Renderer {
        /// What it was.
        what: String,
        /// Why.
        source: RendererError,
    },
    /// Bytes could not be read or written.
    #[error("cannot access the bytes of {what}")]
    Access {
        /// Whose.
        what: String,
        /// Why.
        source: AccessError,
    },
    /// Nothing moved for too long.
    #[error("the other end of the transfer did nothing for {0:?}")]
    Stalled(Duration),
}
