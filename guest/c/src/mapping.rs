//! Mappings and accesses.

use std::ffi::c_void;
use std::sync::Arc;

use crate::allocation::coherd_guest_allocation;
use crate::error::{Failure, coherd_guest_result, run};
use crate::{get, put_handle, take_handle};
use guest::{Access, Bracket, Mapping};

/// A mapped allocation.
#[derive(Debug)]
pub struct coherd_guest_mapping(Arc<Mapping>);

/// An access that was begun.
#[derive(Debug)]
pub struct coherd_guest_access {
    bracket: Option<Bracket>,
    _mapping: Arc<Mapping>,
}

/// Maps an allocation. Unmap it with `coherd_guest_unmap`.
///
/// # Safety
/// `allocation` is an allocation, `out` valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coherd_guest_map(
    allocation: *const coherd_guest_allocation,
    out: *mut *mut coherd_guest_mapping,
) -> coherd_guest_result {
    run(|| {
        // SAFETY: the caller's promise.
        let mapping = unsafe { get(allocation, "allocation") }?.0.map()?;
        // SAFETY: as above.
        unsafe { put_handle(out, coherd_guest_mapping(Arc::new(mapping))) }
    })
}

/// Unmaps; NULL is none. The memory stays mapped as long as an access is open.
///
/// # Safety
/// `mapping` comes from `coherd_guest_map`; neither it nor its data are used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coherd_guest_unmap(mapping: *mut coherd_guest_mapping) {
    // SAFETY: the caller's promise.
    drop(unsafe { take_handle(mapping) });
}

/// Where an allocation is mapped. The GPU may change what is there at any time.
///
/// # Safety
/// `mapping` is null, which gives NULL, or a mapping.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coherd_guest_mapping_data(
    mapping: *const coherd_guest_mapping,
) -> *mut c_void {
    // SAFETY: the caller's promise.
    match unsafe { mapping.as_ref() } {
        Some(mapping) => mapping.0.without_sync().as_ptr().cast(),
        None => std::ptr::null_mut(),
    }
}

/// How many bytes are mapped.
///
/// # Safety
/// `mapping` is null, which gives 0, or a mapping.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coherd_guest_mapping_size(mapping: *const coherd_guest_mapping) -> usize {
    // SAFETY: the caller's promise.
    unsafe { mapping.as_ref() }.map_or(0, |mapping| mapping.0.len())
}

/// Begins to read or write a range of a mapping. What the GPU had written to it can be read when
/// this returns. It costs nothing where the memory needs no sync. End it with `coherd_guest_end`.
///
/// # Safety
/// `mapping` is a mapping, `out` valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coherd_guest_begin(
    mapping: *const coherd_guest_mapping,
    access: u32,
    offset: usize,
    size: usize,
    out: *mut *mut coherd_guest_access,
) -> coherd_guest_result {
    run(|| {
        if out.is_null() {
            return Err(Failure::Null("out"));
        }
        // SAFETY: the caller's promise.
        let mapping = &unsafe { get(mapping, "mapping") }?.0;
        let access = Access::from_bits(access).filter(|access| !access.is_empty());
        let access = access.ok_or(Failure::Argument("access is neither read nor write"))?;
        let begun = coherd_guest_access {
            bracket: mapping.bracket(offset..offset.saturating_add(size), access)?,
            _mapping: Arc::clone(mapping),
        };
        // SAFETY: as above.
        unsafe { put_handle(out, begun) }
    })
}

/// Ends an access and waits until the host has done so; NULL is none. What was written is visible
/// to the GPU then, unless this fails.
///
/// # Safety
/// `access` comes from `coherd_guest_begin` and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coherd_guest_end(access: *mut coherd_guest_access) -> coherd_guest_result {
    run(|| {
        // SAFETY: the caller's promise.
        let access = unsafe { take_handle(access) };
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
        match access.and_then(|mut access| access.bracket.take()) {
            Some(bracket) => Ok(bracket.end()?),
            None => Ok(()),
        }
    })
}
