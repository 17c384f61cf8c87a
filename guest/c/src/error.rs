//! Results and their texts.

use std::cell::RefCell;
use std::error::Error;
use std::ffi::{CStr, CString, c_char};

use thiserror::Error;

use guest::{
    AccessError, AllocateError, BlobError, CallError, DeviceError, ImageError, MapError, OpenError,
    RangeError, ShareError, Status, TransferError,
};

/// How a call ended. Those from 100 on are the host's, by `docs/blob-context.md`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum coherd_guest_result {
    /// It was done.
    Ok = 0,
    /// A null pointer, a flag that is none, or a range that is not inside.
    InvalidArgument = 1,
    /// There is no virtio-gpu with a blob context that can be opened.
    NoDevice = 2,
    /// The kernel refused.
    Kernel = 3,
    /// The host did not answer in time.
    NoAnswer = 4,
    /// The host has lost the context.
    ContextLost = 5,
    /// The host's answer cannot be understood.
    Malformed = 6,
    /// The memory's type cannot be mapped.
    NotMappable = 7,
    /// Another access of this process is open in the range, and one of both writes.
    InUse = 8,
    /// A value that the format or the size of the memory forbids.
    HostInvalid = 102,
    /// The host does not know the command.
    HostUnknownCommand = 103,
    /// The memory is not this context's.
    HostUnknownResource = 104,
    /// The host has no such object.
    HostUnknownObject = 105,
    /// The object's id is taken.
    HostObjectInUse = 106,
    /// No memory type has what was required.
    HostNoMemoryType = 107,
    /// The host is out of memory.
    HostOutOfHostMemory = 108,
    /// The GPU is out of memory.
    HostOutOfDeviceMemory = 109,
    /// A quota of the VM or of the context is used up.
    HostOverQuota = 110,
    /// The GPU has no such format.
    HostUnsupportedFormat = 111,
    /// The GPU has the format with none of the modifiers.
    HostUnsupportedModifier = 112,
    /// The GPU cannot do it.
    HostUnsupported = 113,
    /// The GPU did not finish in time.
    HostTimedOut = 114,
    /// The GPU was lost.
    HostDeviceLost = 115,
    /// An end without its begin.
    HostNotOpen = 116,
    /// The host's policy about memory types forbids it.
    HostRefused = 117,
    /// It failed on the host.
    HostFailed = 118,
}

/// Why a function of the interface failed.
#[derive(Debug, Error)]
pub(crate) enum Failure {
    #[error("{0} is a null pointer")]
    Null(&'static str),
    #[error("{0}")]
    Argument(&'static str),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Call(#[from] CallError),
    #[error(transparent)]
    Allocate(#[from] AllocateError),
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error(transparent)]
    Map(#[from] MapError),
    #[error(transparent)]
    Access(#[from] AccessError),
    #[error(transparent)]
    Transfer(#[from] TransferError),
    #[error(transparent)]
    Share(#[from] ShareError),
}

impl Failure {
    fn result(&self) -> coherd_guest_result {
        use coherd_guest_result as R;
        match self {
            Self::Null(_) | Self::Argument(_) => R::InvalidArgument,
            Self::Open(OpenError::Device(DeviceError::Kernel { .. })) => R::Kernel,
            Self::Open(OpenError::Device(_)) => R::NoDevice,
            Self::Open(OpenError::Host(_)) => R::Malformed,
            Self::Open(OpenError::ReplyMemory(_)) => R::Kernel,
            Self::Open(OpenError::ReplyBuffer(error)) | Self::Call(error) => call(error),
            Self::Allocate(AllocateError::Size { .. }) => R::InvalidArgument,
            Self::Allocate(AllocateError::Host { source, .. }) => call(source),
            Self::Allocate(AllocateError::Blob(error)) => blob(error),
            Self::Image(ImageError::Modifiers(_)) => R::InvalidArgument,
            Self::Image(ImageError::Host { source, .. }) => call(source),
            Self::Image(ImageError::Layout) => R::Malformed,
            Self::Image(ImageError::Blob(error)) => blob(error),
            Self::Map(MapError::NotMappable(_)) => R::NotMappable,
            Self::Map(MapError::Kernel { .. }) => R::Kernel,
            Self::Access(AccessError::Range(RangeError { .. })) => R::InvalidArgument,
            Self::Access(AccessError::InUse { .. }) => R::InUse,
            Self::Access(AccessError::Begin(error) | AccessError::End(error)) => call(error),
            Self::Transfer(error) => call(error.call()),
            Self::Share(ShareError::Export(_) | ShareError::Import(_)) => R::Kernel,
            Self::Share(ShareError::Host(error)) => call(error),
        }
    }
}

fn blob(error: &BlobError) -> coherd_guest_result {
    match error {
        BlobError::Size(_) => coherd_guest_result::Malformed,
        BlobError::Kernel(_) => coherd_guest_result::Kernel,
        BlobError::Host(error) => call(error),
    }
}

fn call(error: &CallError) -> coherd_guest_result {
    match error {
        CallError::Submit(_) | CallError::Wait(_) => coherd_guest_result::Kernel,
        CallError::TimedOut(_) => coherd_guest_result::NoAnswer,
        CallError::Lost => coherd_guest_result::ContextLost,
        CallError::Malformed { .. } => coherd_guest_result::Malformed,
        CallError::Refused(status) => host(*status),
    }
}

fn host(status: Status) -> coherd_guest_result {
    use coherd_guest_result as R;
    match status {
        // `CallError` never has this one.
        Status::Ok => R::Ok,
        Status::Invalid => R::HostInvalid,
        Status::UnknownCommand => R::HostUnknownCommand,
        Status::UnknownResource => R::HostUnknownResource,
        Status::UnknownObject => R::HostUnknownObject,
        Status::ObjectInUse => R::HostObjectInUse,
        Status::NoMemoryType => R::HostNoMemoryType,
        Status::OutOfHostMemory => R::HostOutOfHostMemory,
        Status::OutOfDeviceMemory => R::HostOutOfDeviceMemory,
        Status::OverQuota => R::HostOverQuota,
        Status::UnsupportedFormat => R::HostUnsupportedFormat,
        Status::UnsupportedModifier => R::HostUnsupportedModifier,
        Status::Unsupported => R::HostUnsupported,
        Status::TimedOut => R::HostTimedOut,
        Status::DeviceLost => R::HostDeviceLost,
        Status::NotOpen => R::HostNotOpen,
        Status::Refused => R::HostRefused,
        Status::Failed => R::HostFailed,
    }
}

thread_local! {
    static LAST: RefCell<CString> = RefCell::default();
}

/// Runs a function of the interface and keeps what went wrong.
pub(crate) fn run(function: impl FnOnce() -> Result<(), Failure>) -> coherd_guest_result {
    match function() {
        Ok(()) => coherd_guest_result::Ok,
        Err(failure) => {
            let mut text = failure.to_string();
            let mut cause = failure.source();
            while let Some(error) = cause {
                text += &format!(": {error}");
                cause = error.source();
            }
            LAST.with_borrow_mut(|last| *last = CString::new(text).unwrap_or_default());
            failure.result()
        }
    }
}

/// What the last call of this thread that failed says, and why; empty if none has. Valid until
/// the next call that fails on this thread.
#[unsafe(no_mangle)]
pub extern "C" fn coherd_guest_last_error() -> *const c_char {
    LAST.with_borrow(|last| last.as_ptr())
}

/// The name of a result, for logs.
#[unsafe(no_mangle)]
pub extern "C" fn coherd_guest_result_name(result: u32) -> *const c_char {
    let named = NAMES.iter().find(|(known, _)| *known as u32 == result);
    named.map_or(c"unknown", |(_, name)| name).as_ptr()
}

/// Names of results.
const NAMES: [(coherd_guest_result, &CStr); 26] = {
    use coherd_guest_result as R;
    [
        (R::Ok, c"ok"),
        (R::InvalidArgument, c"invalid argument"),
        (R::NoDevice, c"no device"),
        (R::Kernel, c"refused by the kernel"),
        (R::NoAnswer, c"no answer from the host"),
        (R::ContextLost, c"context lost"),
        (R::Malformed, c"malformed answer"),
        (R::NotMappable, c"not mappable"),
        (R::InUse, c"in use"),
        (R::HostInvalid, c"invalid on the host"),
        (R::HostUnknownCommand, c"unknown command"),
        (R::HostUnknownResource, c"unknown resource"),
        (R::HostUnknownObject, c"unknown object"),
        (R::HostObjectInUse, c"object in use"),
        (R::HostNoMemoryType, c"no memory type"),
        (R::HostOutOfHostMemory, c"out of host memory"),
        (R::HostOutOfDeviceMemory, c"out of device memory"),
        (R::HostOverQuota, c"over quota"),
        (R::HostUnsupportedFormat, c"unsupported format"),
        (R::HostUnsupportedModifier, c"unsupported modifier"),
        (R::HostUnsupported, c"unsupported"),
        (R::HostTimedOut, c"timed out on the host"),
        (R::HostDeviceLost, c"device lost"),
        (R::HostNotOpen, c"not open"),
        (R::HostRefused, c"refused by policy"),
        (R::HostFailed, c"failed"),
    ]
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_of_the_host_has_a_result_of_its_own() {
        for status in Status::ALL
            .into_iter()
            .filter(|status| *status != Status::Ok)
        {
            assert_eq!(host(status) as u32, 100 + status.to_wire());
        }
    }

    #[test]
    fn results_have_names_and_other_numbers_have_none() {
        let name = |result: u32| {
            // SAFETY: the function returns texts that live for ever.
            unsafe { CStr::from_ptr(coherd_guest_result_name(result)) }
        };
        assert_eq!(name(2), c"no device");
        assert_eq!(name(118), c"failed");
        assert_eq!(name(99), c"unknown");
    }

    #[test]
    fn text_of_a_failure_has_its_causes_and_stays_until_the_next() {
        let failed = run(|| Err(Failure::Call(CallError::Refused(Status::OverQuota))));
        assert_eq!(failed, coherd_guest_result::HostOverQuota);
        assert_eq!(run(|| Ok(())), coherd_guest_result::Ok);
        // SAFETY: the text lives until the next failure.
        let text = unsafe { CStr::from_ptr(coherd_guest_last_error()) };
        assert_eq!(text, c"the host refuses: over a quota");
    }
}
