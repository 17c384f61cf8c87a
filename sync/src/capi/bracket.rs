//! Brackets.

use std::ffi::c_void;
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use super::blob::{access, coherd_sync_mapping};
use super::connection::{argument, give_boxed};
use super::result::{Failure, coherd_sync_result, run};
use crate::bracket::Bracket;
use crate::error::SyncError;
use crate::mapping::Mapping;

/// A bracket that is open.
pub struct coherd_sync_bracket {
    // Before the mapping, which it borrows.
    bracket: Bracket<'static>,
    _mapping: Arc<Mapping>,
}

/// Begins an access to `size` bytes at `offset` of the blob; a `size` of 0 is the rest of it. Waits
/// for the GPU at most `timeout_ms` milliseconds, or as long as the server usually does if that is
/// 0. What `bracket` is set to has to be ended by `coherd_sync_end`.
///
/// With COHERD_SYNC_WRITE alone every byte has to be written: those that are not may have any
/// value afterwards.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coherd_sync_begin(
    mapping: *const coherd_sync_mapping,
    access: u32,
    offset: u64,
    size: u64,
    timeout_ms: u32,
    bracket: *mut *mut coherd_sync_bracket,
) -> coherd_sync_result {
    run(|| {
        // SAFETY: the caller's promise.
        let mapping = Arc::clone(&unsafe { argument(mapping, "mapping") }?.0);
        if bracket.is_null() {
            return Err(Failure::Argument("bracket"));
        }
        let timeout = (timeout_ms != 0).then(|| Duration::from_millis(timeout_ms.into()));
        let outside = SyncError::OutOfRange {
            offset,
            len: size,
            size: u64::try_from(mapping.len()).unwrap_or(u64::MAX),
        };
        let narrow = |value: u64| usize::try_from(value).ok();
        let end = match size {
            0 => Some(mapping.len()),
            size => offset.checked_add(size).and_then(narrow),
        };
        let (Some(start), Some(end)) = (narrow(offset), end) else {
            return Err(outside.into());
        };
        let begun = mapping.begin(self::access(access), start..end, timeout)?;
        // SAFETY: the bracket borrows the mapping, which is kept beside it and dropped after it,
        // and which does not move inside its `Arc`.
        let begun = unsafe { std::mem::transmute::<Bracket<'_>, Bracket<'static>>(begun) };
        let open = coherd_sync_bracket {
            bracket: begun,
            _mapping: mapping,
        };
        // SAFETY: the caller's promise.
        unsafe { give_boxed(bracket, open, "bracket") }
    })
}

/// Where the bracket's bytes are mapped, valid until its end. They may be accessed only as the
/// bracket says, and the other side can change them at any time: copy first, then look at the copy.
/// Null for null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coherd_sync_bytes(bracket: *const coherd_sync_bracket) -> *mut c_void {
    // SAFETY: the caller's promise.
    let bracket = unsafe { bracket.as_ref() };
    bracket.map_or(ptr::null_mut(), |open| open.bracket.bytes().as_ptr().cast())
}

/// How many bytes the bracket has. 0 for null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coherd_sync_size(bracket: *const coherd_sync_bracket) -> usize {
    // SAFETY: the caller's promise.
    unsafe { bracket.as_ref() }.map_or(0, |open| open.bracket.bytes().len())
}

/// Ends the bracket and frees it; it may be null. Afterwards what was written is where it belongs,
/// unless the result says that it may not be. The bracket is not open any more in either case.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coherd_sync_end(bracket: *mut coherd_sync_bracket) -> coherd_sync_result {
    run(|| {
        if bracket.is_null() {
            return Ok(());
        }
        // SAFETY: the caller's promise; `coherd_sync_begin` made the box.
        let coherd_sync_bracket { bracket, _mapping } = *unsafe { Box::from_raw(bracket) };
        bracket.end()?;
        Ok(())
    })
}
