//! What is wrong with a blob's types, in words.

use std::fmt;

use coherd_blob::policy::Mismatch;
use coherd_blob::venus_type::Correction;

/// What does not agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// The renderer's word is provably wrong.
    Corrected(Correction),
    /// The blob is not accessed as the guest is told.
    Mismatch(Mismatch),
}

impl Finding {
    /// What somebody who runs guests can do about it.
    pub fn advice(self) -> &'static str {
        match self {
            Self::Corrected(_) => "the guest maps it as it is; nothing needs to be done",
            Self::Mismatch(mismatch) => match mismatch {
                Mismatch::NoBrackets => {
                    "let programs in the guest allocate such memory in coherd's blob context"
                }
                Mismatch::GuestCaches => {
                    "start QEMU with -accel kvm,honor-guest-pat=on, where the host's kernel has it \
                     (Linux 6.16, 6.12.78)"
                }
                Mismatch::MemoryUncached => "report the driver and this line to coherd's authors",
                Mismatch::FdCaches => {
                    "processes of the host that map it have to use the sync protocol"
                }
                Mismatch::GuestUnknown => "`coherd doctor` finds out what this host does",
                Mismatch::FdUnknown => {
                    "processes of the host that map it have to use the sync protocol"
                }
                Mismatch::Slower => "the bytes are right",
            },
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Corrected(why) => write!(f, "the renderer reports another type, but {why}"),
            Self::Mismatch(mismatch) => mismatch.fmt(f),
        }
    }
}
