//! What can go wrong with a guest.

use std::io;
use std::time::Duration;

/// Why a guest does not start or does not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VmError {
    /// A system call or a program start failed.
    #[error("cannot {action}")]
    Io {
        /// What was tried.
        action: String,
        /// What the system said.
        source: io::Error,
    },
    /// The lab's kernel or one of its modules is not where it should be.
    #[error("the lab has no {what}; run `cargo xtask lab --clean`, then try again")]
    Missing {
        /// What was looked for.
        what: String,
    },
    /// `COHERD_ACCEL` has a value that means nothing.
    #[error(
        "COHERD_ACCEL is {value:?}; set it to kvm or tcg, or leave it out to have the machine probed"
    )]
    Accelerator {
        /// The value.
        value: String,
    },
    /// QEMU is gone.
    #[error("QEMU ended ({status}) during {during}; what it and its guest said last:\n{said}")]
    Exited {
        /// How QEMU ended.
        status: String,
        /// What was going on.
        during: String,
        /// The ends of its output and of the guest's console.
        said: String,
    },
    /// Something did not happen in time.
    #[error("no end to {during} within {} s; what was said last:\n{said}", waited.as_secs())]
    Timeout {
        /// What was going on.
        during: String,
        /// How long it was given.
        waited: Duration,
        /// The end of the command's output, or of QEMU's and the guest's.
        said: String,
    },
    /// QEMU refused a QMP command.
    #[error("QEMU refused {command}: {reason}")]
    Refused {
        /// The command.
        command: String,
        /// QEMU's description.
        reason: String,
    },
    /// The guest rebooted while a command was running in it.
    #[error("the guest rebooted before the end of {during}")]
    Rebooted {
        /// The command.
        during: String,
    },
}

impl VmError {
    /// Wraps an [`io::Error`] with what was tried.
    pub fn io(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let action = action.into();
        move |source| Self::Io { action, source }
    }
}
