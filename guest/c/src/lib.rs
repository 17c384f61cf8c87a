//! The library `coherd-guest` for C: `guest/include/coherd-guest.h` is made from these modules by
//! `tests/header.rs`.
//!
//! Handles are opaque and owned by the caller. Functions that can fail return a
//! `coherd_guest_result` and leave a text for people, which
//! `coherd_guest_last_error` returns. What they return through a
//! pointer is only set when they succeed.

#![allow(unsafe_code, reason = "pointers of C")]
#![allow(
    non_camel_case_types,
    reason = "types have the names that C knows them by"
)]

mod allocation;
mod constants;
mod context;
mod error;
mod mapping;
mod memory;
mod transfer;

use error::Failure;

/// What a pointer of C points to.
///
/// # Safety
/// `pointer` has to be null, or valid for reads for `'a`.
unsafe fn get<'a, T>(pointer: *const T, name: &'static str) -> Result<&'a T, Failure> {
    // SAFETY: the caller's promise.
    unsafe { pointer.as_ref() }.ok_or(Failure::Null(name))
}

/// Writes through a pointer of C.
///
/// # Safety
/// `pointer` has to be null, or valid for writes.
unsafe fn put<T>(pointer: *mut T, name: &'static str, value: T) -> Result<(), Failure> {
    if pointer.is_null() {
        return Err(Failure::Null(name));
    }
    // SAFETY: it is not null, hence valid.
    unsafe { pointer.write(value) };
    Ok(())
}

/// Gives a value to C as a handle.
///
/// # Safety
/// As [`put`].
unsafe fn put_handle<T>(pointer: *mut *mut T, value: T) -> Result<(), Failure> {
    if pointer.is_null() {
        return Err(Failure::Null("out"));
    }
    // SAFETY: it is not null, hence valid.
    unsafe { pointer.write(Box::into_raw(Box::new(value))) };
    Ok(())
}

/// Takes a handle back from C and drops it; null is none.
///
/// # Safety
/// `handle` has to come from [`put_handle`] and not to be used again.
unsafe fn take_handle<T>(handle: *mut T) -> Option<T> {
    if handle.is_null() {
        return None;
    }
    // SAFETY: it comes from `Box::into_raw`, and the caller gives it up.
    Some(*unsafe { Box::from_raw(handle) })
}
