//! Connections.

use std::ffi::{CStr, c_char, c_int};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use coherd_protocol::sync::wire::Capabilities;

use super::result::{Failure, coherd_sync_result, run};
use crate::connection::{Connection, Options};
use crate::info::Entry;

/// To open and bracket blobs to write them.
pub const COHERD_SYNC_CAN_WRITE: u64 = 1;
/// To be told of blobs that come and go.
pub const COHERD_SYNC_CAN_WATCH: u64 = 2;
/// To be told who maps a blob.
pub const COHERD_SYNC_CAN_DESCRIBE: u64 = 4;
/// To get sync files of the GPU's work.
pub const COHERD_SYNC_CAN_EXPORT_FENCE: u64 = 8;
/// To make the GPU wait for sync files.
pub const COHERD_SYNC_CAN_IMPORT_FENCE: u64 = 16;

/// `coherd_sync_open` works.
pub const COHERD_SYNC_ENTRY_OPENABLE: u32 = 1;
/// It works with COHERD_SYNC_WRITE, on this connection.
pub const COHERD_SYNC_ENTRY_WRITABLE: u32 = 2;
/// The blob is an image.
pub const COHERD_SYNC_ENTRY_IMAGE: u32 = 4;
/// The guest has it mapped.
pub const COHERD_SYNC_ENTRY_MAPPED: u32 = 8;
/// An mmap of its file needs brackets.
pub const COHERD_SYNC_ENTRY_NEEDS_BRACKETS: u32 = 16;

/// A connection to a server. Any thread may use it, several at a time.
pub struct coherd_sync_connection(pub(super) Connection);

/// How to connect. Zeroes are the defaults.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct coherd_sync_options {
    /// What the process is called in ledgers and in the server's log; null for `coherd-sync`.
    pub name: *const c_char,
    /// COHERD_SYNC_CAN_*: what it wants to do beyond reading; 0 for everything but writing.
    pub capabilities: u64,
    /// Milliseconds that the server may take for an answer, the GPU's time not counted; 0 for
    /// 5000.
    pub answer_within_ms: u32,
}

/// A blob in a list.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct coherd_sync_entry {
    /// Its id, never used again in the server's life.
    pub blob: u64,
    /// Its bytes.
    pub size: u64,
    /// The guest's resource.
    pub resource_id: u32,
    /// How many resources with this id were before.
    pub generation: u32,
    /// The context that it was made in, or 0.
    pub context_id: u32,
    /// COHERD_SYNC_ENTRY_*
    pub flags: u32,
}

impl From<&Entry> for coherd_sync_entry {
    fn from(entry: &Entry) -> Self {
        Self {
            blob: entry.blob,
            size: entry.size,
            resource_id: entry.resource_id,
            generation: entry.generation,
            context_id: entry.context_id,
            flags: entry.flags.bits(),
        }
    }
}

/// # Safety
/// `options` is null or points to options whose name is null or a string.
unsafe fn options(options: *const coherd_sync_options) -> Result<Options, Failure> {
    let mut result = Options::default();
    // SAFETY: the caller's promise.
    let Some(options) = (unsafe { options.as_ref() }) else {
        return Ok(result);
    };
    if !options.name.is_null() {
        // SAFETY: the caller's promise.
        result.name = unsafe { string(options.name, "name") }?.to_owned();
    }
    if options.capabilities != 0 {
        result.capabilities = Capabilities::from_bits_truncate(options.capabilities);
    }
    if options.answer_within_ms != 0 {
        result.answer_within = Duration::from_millis(options.answer_within_ms.into());
    }
    Ok(result)
}

/// # Safety
/// `text` is null or a string that lives as long as the result.
unsafe fn string<'a>(text: *const c_char, name: &'static str) -> Result<&'a str, Failure> {
    if text.is_null() {
        return Err(Failure::Argument(name));
    }
    // SAFETY: the caller's promise.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_str().map_err(|_| Failure::Argument(name))
}

/// What `pointer` points to.
///
/// # Safety
/// It is null or points to a `T` that lives as long as the result.
pub(super) unsafe fn argument<'a, T>(
    pointer: *const T,
    name: &'static str,
) -> Result<&'a T, Failure> {
    // SAFETY: the caller's promise.
    unsafe { pointer.as_ref() }.ok_or(Failure::Argument(name))
}

/// Writes `value` to where `out` points.
///
/// # Safety
/// It is null or points to room for a `T`.
pub(super) unsafe fn give<T>(out: *mut T, value: T, name: &'static str) -> Result<(), Failure> {
    if out.is_null() {
        return Err(Failure::Argument(name));
    }
    // SAFETY: the caller's promise.
    unsafe { out.write(value) };
    Ok(())
}

/// Frees what a handle points to.
///
/// # Safety
/// It is null, or was made by [`Box::into_raw`] and is not used again.
pub(super) unsafe fn release<T>(handle: *mut T) -> coherd_sync_result {
    run(|| {
        if !handle.is_null() {
            // SAFETY: the caller's promise.
            drop(unsafe { Box::from_raw(handle) });
        }
        Ok(())
    })
}

/// Connects to the server that listens at `path`. `options` may be null. What `connection` is set
/// to is freed by `coherd_sync_disconnect`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coherd_sync_connect(
    path: *const c_char,
    options: *const coherd_sync_options,
    connection: *mut *mut coherd_sync_connection,
) -> coherd_sync_result {
    run(|| {
        // SAFETY: the caller's promises.
        unsafe {
            let options = self::options(options)?;
            let new = Connection::connect(string(path, "path")?, &options)?;
            give_boxed(connection, coherd_sync_connection(new), "connection")
        }
    })
}

/// As `coherd_sync_connect`, with a socket that is connected already. `fd` is the library's from
/// now on, and closed if this fails.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coherd_sync_connect_fd(
    fd: c_int,
    options: *const coherd_sync_options,
    connection: *mut *mut coherd_sync_connection,
) -> coherd_sync_result {
    run(|| {
        if fd < 0 {
            return Err(Failure::Argument("fd"));
        }
        // SAFETY: the caller's promises; the file is ours.
        unsafe {
            let fd = OwnedFd::from_raw_fd(fd);
            let options = self::options(options)?;
            let new = Connection::from_fd(fd, &options)?;
            give_boxed(connection, coherd_sync_connection(new), "connection")
        }
    })
}

/// As [`give`], for a new handle.
///
/// # Safety
/// As [`give`].
pub(super) unsafe fn give_boxed<T>(
    out: *mut *mut T,
    value: T,
    name: &'static str,
) -> Result<(), Failure> {
    if out.is_null() {
        return Err(Failure::Argument(name));
    }
    // SAFETY: the caller's promise.
    unsafe { give(out, Box::into_raw(Box::new(value)), name) }
}

/// Frees a connection, which may be null. It ends when everything that was made with it is freed
/// too.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coherd_sync_disconnect(connection: *mut coherd_sync_connection) {
    // SAFETY: the caller's promise.
    unsafe { release(connection) };
}

/// The connection's socket, to be polled for events. Nobody else may read it. -1 for null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coherd_sync_socket(connection: *const coherd_sync_connection) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { connection.as_ref() }.map_or(-1, |connection| connection.0.as_fd().as_raw_fd())
}

/// COHERD_SYNC_CAN_*: what this connection may do, which can be less than was asked for.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coherd_sync_capabilities(
    connection: *const coherd_sync_connection,
) -> u64 {
    // SAFETY: the caller's promise.
    unsafe { connection.as_ref() }.map_or(0, |connection| connection.0.capabilities().bits())
}

/// A random number of the server's life. Ids of blobs mean nothing to another one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coherd_sync_instance(connection: *const coherd_sync_connection) -> u64 {
    // SAFETY: the caller's promise.
    unsafe { connection.as_ref() }.map_or(0, |connection| connection.0.instance())
}

/// Blobs with ids over `after`, in the order of their ids. At most `capacity` are written to
/// `entries`, which may be fewer than there are; `count` says how many. Begin with 0 and go on
/// after the last one; 0 of them is the end.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coherd_sync_list(
    connection: *const coherd_sync_connection,
    after: u64,
    entries: *mut coherd_sync_entry,
    capacity: usize,
    count: *mut usize,
) -> coherd_sync_result {
    run(|| {
        // SAFETY: the caller's promise.
        let connection = unsafe { argument(connection, "connection") }?;
        if entries.is_null() || capacity == 0 {
            return Err(Failure::Argument("entries"));
        }
        let limit = u32::try_from(capacity).unwrap_or(u32::MAX);
        let (page, _more) = connection.0.list_page(after, limit)?;
        let mut written = 0;
        for entry in page.iter().take(capacity) {
            // SAFETY: `written` is under the capacity.
            unsafe { entries.add(written).write(entry.into()) };
            written += 1;
        }
        // SAFETY: the caller's promise.
        unsafe { give(count, written, "count") }
    })
}
