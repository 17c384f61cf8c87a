//! Allocations and images.

use std::ffi::c_int;
use std::os::fd::{BorrowedFd, IntoRawFd};

use crate::context::coherd_guest_context;
use crate::error::{Failure, coherd_guest_result, run};
use crate::memory::{coherd_guest_memory, word};
use crate::{get, put, put_handle, take_handle};
use guest::{
    Allocation, AllocationRequest, BufferUsage, ImageRequest, ImageUsage, MemoryProperties, Owner,
};

/// Memory of the host's device.
#[derive(Debug)]
pub struct coherd_guest_allocation(pub(crate) Allocation);

/// What to allocate.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct coherd_guest_allocation_request {
    /// Bytes; rounded up to the host's pages.
    pub size: u64,
    /// `COHERD_GUEST_HOST_VISIBLE` and so on: what the memory type has to have.
    pub required: u32,
    /// What it should have beyond that.
    pub preferred: u32,
    /// `COHERD_GUEST_STORAGE` and so on, beyond copies and fills.
    pub usage: u32,
    /// It will be exported.
    pub shareable: bool,
}

/// What image to make.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct coherd_guest_image_request {
    /// Pixels along a line.
    pub width: u32,
    /// Lines.
    pub height: u32,
    /// A code of `drm_fourcc.h`.
    pub fourcc: u32,
    /// `COHERD_GUEST_SAMPLED` and so on, beyond copies.
    pub usage: u32,
    /// `COHERD_GUEST_HOST_VISIBLE` and so on: what the memory type has to have.
    pub required: u32,
    /// What it should have beyond that.
    pub preferred: u32,
    /// Modifiers of `drm_fourcc.h` to choose from; NULL with a count of 0 for any.
    pub modifiers: *const u64,
    /// How many.
    pub modifier_count: u32,
    /// It will be exported.
    pub shareable: bool,
}

/// A plane of an image.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct coherd_guest_plane {
    /// Bytes from the start of the memory.
    pub offset: u64,
    /// Bytes from line to line.
    pub pitch: u64,
    /// Bytes of the plane.
    pub size: u64,
}

/// How an image lies in its memory.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct coherd_guest_image_layout {
    /// The modifier that the host chose.
    pub modifier: u64,
    /// How many of `planes` there are.
    pub plane_count: u32,
    /// The planes.
    pub planes: [coherd_guest_plane; 4],
}

/// Mappings of one kind and type.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct coherd_guest_holder {
    /// 1 guest, 2 VMM, 3 daemon, 4 another process of the host.
    pub kind: u32,
    /// How they are cached; 0 if the host does not know.
    pub caching: u32,
    /// How many there are.
    pub count: u32,
    /// Accesses that are open through them.
    pub open: u32,
}

/// What the host knows about memory at present.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct coherd_guest_description {
    /// The memory.
    pub memory: coherd_guest_memory,
    /// Accesses that are open.
    pub open: u32,
    /// How many of `holders` there are.
    pub holder_count: u32,
    /// Who maps it.
    pub holders: [coherd_guest_holder; 16],
}

/// Allocates memory. Free it with `coherd_guest_free`.
///
/// # Safety
/// `context` is a context, `request` and `out` are valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coherd_guest_allocate(
    context: *const coherd_guest_context,
    request: *const coherd_guest_allocation_request,
    out: *mut *mut coherd_guest_allocation,
) -> coherd_guest_result {
    run(|| {
        // SAFETY: the caller's promise.
        let (context, request) = unsafe { (get(context, "context")?, get(request, "request")?) };
        let request = AllocationRequest {
            size: request.size,
            required: properties(request.required)?,
            preferred: properties(request.preferred)?,
            usage: BufferUsage::from_bits(request.usage)
                .ok_or(Failure::Argument("usage has an unknown bit"))?,
            shareable: request.shareable,
        };
        let allocation = context.0.allocate(&request)?;
        // SAFETY: the caller's promise.
        unsafe { put_handle(out, coherd_guest_allocation(allocation)) }
    })
}

/// Makes an image. Free its memory with `coherd_guest_free`.
///
/// # Safety
/// `context` is a context; `request`, its modifiers, `layout` and `out` are valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coherd_guest_create_image(
    context: *const coherd_guest_context,
    request: *const coherd_guest_image_request,
    layout: *mut coherd_guest_image_layout,
    out: *mut *mut coherd_guest_allocation,
) -> coherd_guest_result {
    run(|| {
        // SAFETY: the caller's promise.
        let (context, request) = unsafe { (get(context, "context")?, get(request, "request")?) };
        let count = usize::try_from(request.modifier_count).unwrap_or(usize::MAX);
        let modifiers = match (count, request.modifiers.is_null()) {
            (0, _) => &[],
            (_, true) => return Err(Failure::Null("modifiers")),
            // SAFETY: the caller's promise.
            (_, false) => unsafe { std::slice::from_raw_parts(request.modifiers, count) },
        };
        let image = context.0.create_image(&ImageRequest {
            width: request.width,
            height: request.height,
            fourcc: request.fourcc,
            modifiers: modifiers.to_vec(),
            usage: ImageUsage::from_bits(request.usage)
                .ok_or(Failure::Argument("usage has an unknown bit"))?,
            required: properties(request.required)?,
            preferred: properties(request.preferred)?,
            shareable: request.shareable,
        })?;
        let mut value = coherd_guest_image_layout {
            modifier: image.modifier(),
            plane_count: u32::try_from(image.planes().len()).unwrap_or(0),
            ..coherd_guest_image_layout::default()
        };
        for (to, from) in value.planes.iter_mut().zip(image.planes()) {
            *to = coherd_guest_plane {
                offset: from.offset,
                pitch: from.pitch,
                size: from.size,
            };
        }
        let allocation = image.allocation().clone();
        // SAFETY: the caller's promise.
        unsafe {
            put(layout, "layout", value)?;
            put_handle(out, coherd_guest_allocation(allocation))
        }
    })
}

/// Frees an allocation; NULL is none. Its memory stays as long as it is mapped.
///
/// # Safety
/// `allocation` comes from this library and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coherd_guest_free(allocation: *mut coherd_guest_allocation) {
    // SAFETY: the caller's promise.
    drop(unsafe { take_handle(allocation) });
}

/// What memory an allocation is.
///
/// # Safety
/// `allocation` is an allocation, `out` valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coherd_guest_get_memory(
    allocation: *const coherd_guest_allocation,
    out: *mut coherd_guest_memory,
) -> coherd_guest_result {
    run(|| {
        // SAFETY: the caller's promise.
        let allocation = unsafe { get(allocation, "allocation") }?;
        // SAFETY: as above.
        unsafe { put(out, "out", allocation.0.memory().into()) }
    })
}

/// Asks the host what it knows about an allocation at present.
///
/// # Safety
/// `allocation` is an allocation, `out` valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coherd_guest_describe(
    allocation: *const coherd_guest_allocation,
    out: *mut coherd_guest_description,
) -> coherd_guest_result {
    run(|| {
        // SAFETY: the caller's promise.
        let described = unsafe { get(allocation, "allocation") }?.0.describe()?;
        let mut value = coherd_guest_description {
            memory: (&described.memory).into(),
            open: described.open,
            holder_count: u32::try_from(described.holders.len()).unwrap_or(0),
            holders: [coherd_guest_holder::default(); 16],
        };
        for (to, from) in value.holders.iter_mut().zip(&described.holders) {
            *to = coherd_guest_holder {
                kind: match from.owner {
                    Owner::Guest => 1,
                    Owner::Vmm => 2,
                    Owner::Daemon => 3,
                    Owner::Peer => 4,
                    Owner::Other(kind) => kind,
                },
                caching: word(from.caching),
                count: from.count,
                open: from.open,
            };
        }
        // SAFETY: the caller's promise.
        unsafe { put(out, "out", value) }
    })
}

/// A dma-buf of an allocation, for other contexts of the device, such as Venus ones. The caller
/// closes it.
///
/// # Safety
/// `allocation` is an allocation, `fd` valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coherd_guest_export(
    allocation: *const coherd_guest_allocation,
    fd: *mut c_int,
) -> coherd_guest_result {
    run(|| {
        if fd.is_null() {
            return Err(Failure::Null("fd"));
        }
        // SAFETY: the caller's promise.
        let file = unsafe { get(allocation, "allocation") }?.0.export()?;
        // SAFETY: the caller's promise.
        unsafe { put(fd, "fd", file.into_raw_fd()) }
    })
}

/// An allocation of another context of the device, by a dma-buf of it, which stays the caller's.
///
/// # Safety
/// `context` is a context, `fd` an open file or negative, `out` valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coherd_guest_import(
    context: *const coherd_guest_context,
    fd: c_int,
    out: *mut *mut coherd_guest_allocation,
) -> coherd_guest_result {
    run(|| {
        // SAFETY: the caller's promise.
        let context = unsafe { get(context, "context") }?;
        if fd < 0 {
            return Err(Failure::Argument("fd is negative"));
        }
        // SAFETY: an open file, says the caller.
        let allocation = context.0.import(unsafe { BorrowedFd::borrow_raw(fd) })?;
        // SAFETY: as above.
        unsafe { put_handle(out, coherd_guest_allocation(allocation)) }
    })
}

fn properties(bits: u32) -> Result<MemoryProperties, Failure> {
    let properties = MemoryProperties::from_bits(bits);
    properties.ok_or(Failure::Argument("a memory property is unknown"))
}
