//! Contexts.

use std::ffi::{CStr, OsStr, c_char};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use crate::error::{Failure, coherd_guest_result, run};
use crate::memory::{coherd_guest_format, coherd_guest_heap, coherd_guest_memory_type, word};
use crate::{get, put, put_handle, take_handle};
use guest::{Context, Options};

/// A context. All threads may use it at once.
#[derive(Debug)]
pub struct coherd_guest_context(pub(crate) Context);

/// What the host's device is.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct coherd_guest_host {
    /// The name of the host's device, which ends with a nul.
    pub name: [c_char; 64],
    /// Brackets work on ranges that are rounded to so many bytes.
    pub atom_size: u64,
    /// Sizes are rounded up to so many bytes.
    pub page_size: u64,
    /// Bytes of the largest allocation.
    pub max_allocation_size: u64,
    /// Pixels along the longest side of an image.
    pub max_image_dimension: u32,
    /// Memory types, for `coherd_guest_get_memory_type`.
    pub type_count: u32,
    /// Heaps, for `coherd_guest_get_heap`.
    pub heap_count: u32,
    /// Formats, for `coherd_guest_get_format`.
    pub format_count: u32,
    /// Images can be made.
    pub images: bool,
    /// Blobs are dma-bufs on the host.
    pub dma_buf: bool,
    /// The device is a processor.
    pub software: bool,
}

/// Opens a context of a render node, or with NULL of the first one in /dev/dri that will do. Close
/// it with `coherd_guest_close`.
///
/// # Safety
/// `render_node` is null or a string; `out` is valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coherd_guest_open(
    render_node: *const c_char,
    out: *mut *mut coherd_guest_context,
) -> coherd_guest_result {
    run(|| {
        // SAFETY: a string, says the caller.
        let path = (!render_node.is_null()).then(|| unsafe { CStr::from_ptr(render_node) });
        let options = Options {
            render_node: path.map(|path| PathBuf::from(OsStr::from_bytes(path.to_bytes()))),
            ..Options::default()
        };
        let context = coherd_guest_context(Context::with_options(&options)?);
        // SAFETY: valid, says the caller.
        unsafe { put_handle(out, context) }
    })
}

/// Closes a context; NULL is none. What was made with it stays.
///
/// # Safety
/// `context` comes from `coherd_guest_open` and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coherd_guest_close(context: *mut coherd_guest_context) {
    // SAFETY: the caller's promise.
    drop(unsafe { take_handle(context) });
}

/// What the host's device is.
///
/// # Safety
/// `context` is a context, `out` valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coherd_guest_get_host(
    context: *const coherd_guest_context,
    out: *mut coherd_guest_host,
) -> coherd_guest_result {
    run(|| {
        // SAFETY: the caller's promise.
        let host = unsafe { get(context, "context") }?.0.host();
        let mut name = [0; 64];
        for (to, from) in name.iter_mut().take(63).zip(host.name.bytes()) {
            *to = c_char::from_ne_bytes([from]);
        }
        let count = |len| u32::try_from(len).unwrap_or(u32::MAX);
        let value = coherd_guest_host {
            name,
            atom_size: host.atom_size,
            page_size: host.page_size,
            max_allocation_size: host.max_allocation_size,
            max_image_dimension: host.max_image_dimension,
            type_count: count(host.types.len()),
            heap_count: count(host.heaps.len()),
            format_count: count(host.formats.len()),
            images: host.images,
            dma_buf: host.dma_buf,
            software: host.software,
        };
        // SAFETY: the caller's promise.
        unsafe { put(out, "out", value) }
    })
}

/// One of the host's memory types.
///
/// # Safety
/// `context` is a context, `out` valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coherd_guest_get_memory_type(
    context: *const coherd_guest_context,
    index: u32,
    out: *mut coherd_guest_memory_type,
) -> coherd_guest_result {
    run(|| {
        // SAFETY: the caller's promise.
        let types = &unsafe { get(context, "context") }?.0.host().types;
        let kind = at(types, index)?;
        let value = coherd_guest_memory_type {
            properties: kind.properties.bits(),
            heap: kind.heap,
            caching: word(kind.caching),
            needs_sync: kind.needs_sync,
        };
        // SAFETY: the caller's promise.
        unsafe { put(out, "out", value) }
    })
}

/// One of the host's heaps.
///
/// # Safety
/// `context` is a context, `out` valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coherd_guest_get_heap(
    context: *const coherd_guest_context,
    index: u32,
    out: *mut coherd_guest_heap,
) -> coherd_guest_result {
    run(|| {
        // SAFETY: the caller's promise.
        let heaps = &unsafe { get(context, "context") }?.0.host().heaps;
        let heap = at(heaps, index)?;
        let value = coherd_guest_heap {
            size: heap.size,
            device_local: heap.device_local,
        };
        // SAFETY: the caller's promise.
        unsafe { put(out, "out", value) }
    })
}

/// One of the host's formats.
///
/// # Safety
/// `context` is a context, `out` valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coherd_guest_get_format(
    context: *const coherd_guest_context,
    index: u32,
    out: *mut coherd_guest_format,
) -> coherd_guest_result {
    run(|| {
        // SAFETY: the caller's promise.
        let formats = &unsafe { get(context, "context") }?.0.host().formats;
        let format = at(formats, index)?;
        let value = coherd_guest_format {
            fourcc: format.fourcc,
            planes: format.planes,
            modifier: format.modifier,
            usage: format.usage.bits(),
        };
        // SAFETY: the caller's promise.
        unsafe { put(out, "out", value) }
    })
}

fn at<T>(list: &[T], index: u32) -> Result<&T, Failure> {
    let index = usize::try_from(index).unwrap_or(usize::MAX);
    list.get(index)
        .ok_or(Failure::Argument("index is past the end"))
}
