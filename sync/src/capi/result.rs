//! Results, and what they say to humans.

use std::cell::RefCell;
use std::error::Error;
use std::ffi::{CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};

use coherd_protocol::sync::Status;

use crate::error::SyncError;

/// How a call ended. Those below 0x100 are what the server answered, and have the numbers of the
/// protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub enum coherd_sync_result {
    /// It worked.
    Ok = 0,
    /// The server took the request for malformed.
    Invalid = 1,
    /// The server does not know the request.
    UnknownRequest = 2,
    /// Server and library have no version of the protocol in common.
    Version = 3,
    /// This process may not do this.
    Denied = 4,
    /// The server, or this blob's memory, cannot do this.
    Unsupported = 5,
    /// No blob has this id, nor had one.
    UnknownBlob = 6,
    /// The blob was destroyed.
    Gone = 7,
    /// It is not open on this connection.
    NotOpen = 8,
    /// It is open on this connection already.
    InUse = 9,
    /// The GPU did not finish in time. Nothing was begun; it can be tried again.
    TimedOut = 10,
    /// It was cancelled.
    Cancelled = 11,
    /// A limit of the server or of this connection is reached.
    OverLimit = 12,
    /// The host is out of memory or of files.
    OutOfMemory = 13,
    /// The GPU was lost.
    DeviceLost = 14,
    /// The host's policy about memory types that do not agree forbids it.
    Refused = 15,
    /// It failed and the server's log says why.
    Failed = 16,
    /// Nobody listens at the path, or this process may not connect.
    Connect = 0x100,
    /// The connection is of no further use.
    Disconnected = 0x101,
    /// The server did not answer in time.
    NoAnswer = 0x102,
    /// What is at the other end does not speak the protocol as it should.
    Protocol = 0x103,
    /// The blob cannot be mapped, or its file is one that must not be.
    NotMappable = 0x104,
    /// The blob was not opened to be written.
    ReadOnly = 0x105,
    /// The bytes are outside the blob.
    OutOfRange = 0x106,
    /// The connection is watched already.
    Watched = 0x107,
    /// An argument is null, or a string is not UTF-8.
    Argument = 0x108,
    /// The library failed.
    Internal = 0x109,
}

/// Why a call failed.
pub(super) enum Failure {
    /// The library says so.
    Sync(SyncError),
    /// This argument is null or no string.
    Argument(&'static str),
}

impl From<SyncError> for Failure {
    fn from(error: SyncError) -> Self {
        Self::Sync(error)
    }
}

thread_local! {
    static LAST: RefCell<CString> = RefCell::default();
}

/// Does what a function is for, and turns everything that can happen into a result.
pub(super) fn run(body: impl FnOnce() -> Result<(), Failure>) -> coherd_sync_result {
    let (result, text) = match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => return coherd_sync_result::Ok,
        Ok(Err(Failure::Sync(error))) => (of(&error), chain(&error)),
        Ok(Err(Failure::Argument(name))) => (
            coherd_sync_result::Argument,
            format!("argument `{name}` is null or not valid"),
        ),
        Err(_) => (
            coherd_sync_result::Internal,
            "the library panicked".to_owned(),
        ),
    };
    let text = CString::new(text.replace('\0', " ")).unwrap_or_default();
    LAST.set(text);
    result
}

/// The error and its sources in one line.
fn chain(error: &SyncError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

fn of(error: &SyncError) -> coherd_sync_result {
    use coherd_sync_result as R;
    match error {
        SyncError::Refused { status, .. } => of_status(*status),
        SyncError::Version(_) => R::Version,
        SyncError::Connect { .. } => R::Connect,
        SyncError::Disconnected | SyncError::Socket(_) => R::Disconnected,
        SyncError::NoAnswer { .. } => R::NoAnswer,
        SyncError::NotASyncSocket
        | SyncError::NotASyncServer
        | SyncError::Malformed(..)
        | SyncError::NoFile(_) => R::Protocol,
        SyncError::File(_) | SyncError::NotMappable(_) | SyncError::Map { .. } => R::NotMappable,
        SyncError::ReadOnly(_) => R::ReadOnly,
        SyncError::Empty | SyncError::OutOfRange { .. } => R::OutOfRange,
        SyncError::Watched => R::Watched,
    }
}

fn of_status(status: Status) -> coherd_sync_result {
    use coherd_sync_result as R;
    match status {
        Status::Ok => R::Ok,
        Status::Invalid => R::Invalid,
        Status::UnknownRequest => R::UnknownRequest,
        Status::Version => R::Version,
        Status::Denied => R::Denied,
        Status::Unsupported => R::Unsupported,
        Status::UnknownBlob => R::UnknownBlob,
        Status::Gone => R::Gone,
        Status::NotOpen => R::NotOpen,
        Status::InUse => R::InUse,
        Status::TimedOut => R::TimedOut,
        Status::Cancelled => R::Cancelled,
        Status::OverLimit => R::OverLimit,
        Status::OutOfMemory => R::OutOfMemory,
        Status::DeviceLost => R::DeviceLost,
        Status::Refused => R::Refused,
        Status::Failed => R::Failed,
    }
}

/// What went wrong in the last call of this thread that failed, in one line. Valid until the next
/// one that fails.
#[unsafe(no_mangle)]
pub extern "C" fn coherd_sync_last_error() -> *const c_char {
    LAST.with_borrow(|text| text.as_ptr())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CStr;

    #[test]
    fn results_of_the_server_have_the_numbers_of_the_protocol() {
        for status in Status::ALL {
            assert_eq!(of_status(status) as u32, status.to_wire());
        }
    }

    #[test]
    fn panic_becomes_a_result_and_a_text() {
        let result = run(|| panic!("on purpose"));
        assert_eq!(result, coherd_sync_result::Internal);
        // SAFETY: the text is valid until the next failure of this thread.
        let text = unsafe { CStr::from_ptr(coherd_sync_last_error()) };
        assert_eq!(text.to_str(), Ok("the library panicked"));
    }

    #[test]
    fn text_has_the_error_and_its_source() {
        let error = SyncError::Map {
            blob: 3,
            source: rustix::io::Errno::NOMEM,
        };
        let text = chain(&error);
        assert!(text.starts_with("cannot map blob 3: "), "{text}");
    }
}
