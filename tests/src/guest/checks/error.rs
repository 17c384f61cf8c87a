//! Why a check failed.

use std::fmt;
use std::io;

use thiserror::Error;

use crate::guest::GuestError;

/// Where the bytes that were read differ from those that were written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Mismatch {
    /// The first byte that differs.
    pub offset: usize,
    /// What it should be.
    pub expected: u8,
    /// What it is.
    pub found: u8,
    /// How many bytes differ.
    pub count: usize,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            offset,
            expected,
            found,
            count,
        } = self;
        write!(
            f,
            "{count} bytes differ, at {offset:#x} {found:#04x} instead of {expected:#04x}"
        )
    }
}

/// Why a check did not pass.
#[derive(Debug, Error)]
pub enum CheckError {
    /// Vulkan refused something.
    #[error(transparent)]
    Guest(#[from] GuestError),
    /// Bytes came back changed.
    #[error("{what}: {mismatch}")]
    Bytes {
        /// Which bytes.
        what: String,
        /// How they differ.
        mismatch: Mismatch,
    },
    /// Words written right after a map were not there.
    #[error("{words} words lost in {maps} of {count} maps")]
    LostWrites {
        /// Words that were not there.
        words: u64,
        /// Maps with such words.
        maps: u64,
        /// All maps.
        count: u64,
    },
    /// More allocations asked for than the device can hold.
    #[error("{live} live allocations asked for, the device allows {limit}")]
    TooMany {
        /// The number asked for.
        live: usize,
        /// `maxMemoryAllocationCount` less what the check itself needs.
        limit: usize,
    },
    /// A memory type that was asked for cannot be used.
    #[error("Memory type {0} is not host-visible or not for buffers")]
    BadType(u32),
    /// The blob context refused something.
    #[error("the blob context failed")]
    BlobContext(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A number asked for makes no sense.
    #[error("{0}")]
    BadOption(&'static str),
    /// Something is offered, or is not, against what was expected.
    #[error("{what} is {}", if *offered { "offered" } else { "not offered" })]
    Unexpected {
        /// A kind of handle, or an extension.
        what: &'static str,
        /// Whether it is offered.
        offered: bool,
    },
    /// A surface lacks what the check needs.
    #[error("The surface does not allow {0}")]
    Surface(&'static str),
    /// A swapchain handed out an image it does not have.
    #[error("Image {0} was acquired, which the swapchain does not have")]
    BadImage(u32),
    /// Every fence was signalled before it could be waited for, so that no wait was checked.
    #[error("None of {0} fences was pending when it was exported, so none was waited for")]
    NoWait(u64),
    /// Work that never ends did.
    #[error("The wait for work that never ends has ended")]
    NoHang,
    /// A system call on an exported handle, or on standard input, failed.
    #[error("{call} failed")]
    System {
        /// The call.
        call: &'static str,
        /// Why.
        source: io::Error,
    },
}

/// Turns an error of the blob context into one of the check.
pub fn blob<T, E>(result: Result<T, E>) -> Result<T, CheckError>
where
    E: std::error::Error + Send + Sync + 'static,
{
    result.map_err(|error| CheckError::BlobContext(Box::new(error)))
}
