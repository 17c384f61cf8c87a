//! Copies and fills by the GPU. They wait; the library for Rust need not.

use crate::allocation::coherd_guest_allocation;
use crate::context::coherd_guest_context;
use crate::error::{coherd_guest_result, run};
use crate::get;

/// Copies bytes on the GPU and waits for it.
///
/// # Safety
/// `context` is a context; `source` and `destination` are allocations of it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coherd_guest_copy(
    context: *const coherd_guest_context,
    source: *const coherd_guest_allocation,
    source_offset: u64,
    destination: *const coherd_guest_allocation,
    destination_offset: u64,
    size: u64,
) -> coherd_guest_result {
    run(|| {
        // SAFETY: the caller's promise.
        let (context, source, destination) = unsafe {
            (
                get(context, "context")?,
                get(source, "source")?,
                get(destination, "destination")?,
            )
        };
        let (source, destination) = (
            source.0.at(source_offset),
            destination.0.at(destination_offset),
        );
        Ok(context.0.copy(source, destination, size)?.wait()?)
    })
}

/// Fills bytes with a word on the GPU and waits for it. Offset and size are multiples of 4.
///
/// # Safety
/// `context` is a context, `destination` an allocation of it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coherd_guest_fill(
    context: *const coherd_guest_context,
    destination: *const coherd_guest_allocation,
    offset: u64,
    size: u64,
    value: u32,
) -> coherd_guest_result {
    run(|| {
        // SAFETY: the caller's promise.
        let (context, destination) =
            unsafe { (get(context, "context")?, get(destination, "destination")?) };
        Ok(context
            .0
            .fill(destination.0.at(offset), size, value)?
            .wait()?)
    })
}

/// Waits until the host has executed everything that was sent.
///
/// # Safety
/// `context` is a context.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coherd_guest_wait_idle(
    context: *const coherd_guest_context,
) -> coherd_guest_result {
    run(|| {
        // SAFETY: the caller's promise.
        Ok(unsafe { get(context, "context") }?.0.wait_idle()?)
    })
}
