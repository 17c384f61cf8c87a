//! Blobs that are open.

use std::ffi::{c_char, c_int};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd};
use std::sync::Arc;

use super::connection::{argument, coherd_sync_connection, give, give_boxed, release};
use super::name::{COHERD_SYNC_NAME_LEN, c_name};
use super::result::{Failure, coherd_sync_result, run};
use crate::blob::Blob;
use crate::info::{Caching, Info};
use crate::mapping::Mapping;
use coherd_protocol::memory::Access;

/// To read.
pub const COHERD_SYNC_READ: u32 = 1;
/// To write.
pub const COHERD_SYNC_WRITE: u32 = 2;

/// Nothing is known, or there is no mapping.
pub const COHERD_SYNC_CACHING_UNKNOWN: u32 = 0;
/// Cached, write-back.
pub const COHERD_SYNC_CACHED: u32 = 1;
/// Not cached.
pub const COHERD_SYNC_UNCACHED: u32 = 2;
/// Write-combining.
pub const COHERD_SYNC_WRITE_COMBINING: u32 = 3;

/// An mmap of the file works.
pub const COHERD_SYNC_OPEN_MMAP: u32 = 1;
/// Accesses through one need brackets, for whatever reason.
pub const COHERD_SYNC_OPEN_NEEDS_BRACKETS: u32 = 2;
/// The blob is an image, and what is said of one is valid.
pub const COHERD_SYNC_OPEN_IMAGE: u32 = 4;
/// Fences work.
pub const COHERD_SYNC_OPEN_FENCES: u32 = 8;

/// A blob that is open.
pub struct coherd_sync_blob(Blob);

/// A blob that is mapped.
pub struct coherd_sync_mapping(pub(super) Arc<Mapping>);

/// A plane of an image, in bytes.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct coherd_sync_plane {
    /// Where it begins in the blob.
    pub offset: u64,
    /// From one row to the next.
    pub pitch: u64,
    /// Its size.
    pub size: u64,
}

/// What an open blob is.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct coherd_sync_info {
    /// Its id.
    pub blob: u64,
    /// Its bytes.
    pub size: u64,
    /// Where it begins in its file.
    pub data_offset: u64,
    /// Offsets of an mmap are multiples of this.
    pub page_size: u64,
    /// COHERD_SYNC_READ, COHERD_SYNC_WRITE: what may be done.
    pub access: u32,
    /// What the file allows, which can be more.
    pub fd_access: u32,
    /// COHERD_SYNC_OPEN_*
    pub flags: u32,
    /// What the guest was told: COHERD_SYNC_CACHED and its kin.
    pub told: u32,
    /// What an mmap of the file gives.
    pub file_caching: u32,
    /// What the guest's mapping really is under this host's hypervisor.
    pub effective: u32,
    /// Bits of VkMemoryPropertyFlagBits, or 0 where the renderer does not say.
    pub properties: u32,
    /// What the file is: 1 a dma-buf, 2 a memfd, 3 a memfd behind a private header, 0 not known.
    pub backing: u32,
    /// The guest's resource.
    pub resource_id: u32,
    /// How many resources with this id were before.
    pub generation: u32,
    /// The context that it was made in, or 0.
    pub context_id: u32,
    /// Of an image: its DRM format.
    pub fourcc: u32,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Its DRM format modifier.
    pub modifier: u64,
    /// How many planes it has.
    pub plane_count: u32,
    /// Its planes.
    pub planes: [coherd_sync_plane; 4],
    /// Who exported the file.
    pub exporter: [c_char; COHERD_SYNC_NAME_LEN],
}

impl From<&Info> for coherd_sync_info {
    fn from(info: &Info) -> Self {
        let mut planes = [coherd_sync_plane::default(); 4];
        let image = info.image.as_ref();
        let of_image = image.map_or(&[][..], |image| &image.planes);
        for (to, from) in planes.iter_mut().zip(of_image) {
            *to = coherd_sync_plane {
                offset: from.offset,
                pitch: from.pitch,
                size: from.size,
            };
        }
        Self {
            blob: info.blob,
            size: info.size,
            data_offset: info.data_offset,
            page_size: info.page_size,
            access: info.access.bits(),
            fd_access: info.fd_access.bits(),
            flags: info.flags.bits(),
            told: caching(info.memory.told),
            file_caching: caching(info.memory.file),
            effective: caching(info.memory.effective),
            properties: info.memory.properties.bits(),
            backing: info.memory.backing as u32,
            resource_id: info.resource_id,
            generation: info.generation,
            context_id: info.context_id,
            fourcc: image.map_or(0, |image| image.fourcc),
            width: image.map_or(0, |image| image.width),
            height: image.map_or(0, |image| image.height),
            modifier: image.map_or(0, |image| image.modifier),
            plane_count: u32::try_from(of_image.len()).unwrap_or(0),
            planes,
            exporter: c_name(&info.exporter),
        }
    }
}

/// A caching for C.
pub(super) fn caching(caching: Option<Caching>) -> u32 {
    caching.map_or(COHERD_SYNC_CACHING_UNKNOWN, |caching| caching as u32)
}

/// An access of C. What is no access at all the server refuses.
pub(super) fn access(access: u32) -> Access {
    Access::from_bits_retain(access)
}

/// Opens a blob. A connection has a blob open once. What `blob` is set to is freed by
/// `coherd_sync_close`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coherd_sync_open(
    connection: *const coherd_sync_connection,
    id: u64,
    access: u32,
    blob: *mut *mut coherd_sync_blob,
) -> coherd_sync_result {
    run(|| {
        // SAFETY: the caller's promises.
        unsafe {
            let connection = argument(connection, "connection")?;
            let opened = connection.0.open(id, self::access(access))?;
            give_boxed(blob, coherd_sync_blob(opened), "blob")
        }
    })
}

/// Frees a blob, which may be null. It is closed when its mappings are freed too.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coherd_sync_close(blob: *mut coherd_sync_blob) {
    // SAFETY: the caller's promise.
    unsafe { release(blob) };
}

/// What the blob is.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coherd_sync_get_info(
    blob: *const coherd_sync_blob,
    info: *mut coherd_sync_info,
) -> coherd_sync_result {
    run(|| {
        // SAFETY: the caller's promises.
        unsafe {
            let blob = argument(blob, "blob")?;
            give(info, blob.0.info().into(), "info")
        }
    })
}

/// The blob's file, which stays the library's. -1 for null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coherd_sync_file(blob: *const coherd_sync_blob) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { blob.as_ref() }.map_or(-1, |blob| blob.0.as_fd().as_raw_fd())
}

/// Maps the blob, as it was opened. What `mapping` is set to is freed by `coherd_sync_unmap`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coherd_sync_map(
    blob: *const coherd_sync_blob,
    mapping: *mut *mut coherd_sync_mapping,
) -> coherd_sync_result {
    run(|| {
        // SAFETY: the caller's promises.
        unsafe {
            let mapped = Arc::new(argument(blob, "blob")?.0.map()?);
            give_boxed(mapping, coherd_sync_mapping(mapped), "mapping")
        }
    })
}

/// Frees a mapping, which may be null. It is unmapped when its brackets have ended too.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coherd_sync_unmap(mapping: *mut coherd_sync_mapping) {
    // SAFETY: the caller's promise.
    unsafe { release(mapping) };
}

/// Sets `fence` to a sync file that signals when the GPU has finished what has to be waited for
/// before `access`. It is the caller's to close. A bracket is needed as well.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coherd_sync_export_fence(
    blob: *const coherd_sync_blob,
    access: u32,
    fence: *mut c_int,
) -> coherd_sync_result {
    run(|| {
        // SAFETY: the caller's promise.
        let blob = unsafe { argument(blob, "blob") }?;
        if fence.is_null() {
            return Err(Failure::Argument("fence"));
        }
        let exported = blob.0.export_fence(self::access(access))?;
        // SAFETY: the caller's promise.
        unsafe { give(fence, exported.into_raw_fd(), "fence") }
    })
}

/// Makes later work of the GPU on the blob wait for a sync file, whose work does `access`. The
/// file stays the caller's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coherd_sync_import_fence(
    blob: *const coherd_sync_blob,
    access: u32,
    fence: c_int,
) -> coherd_sync_result {
    run(|| {
        // SAFETY: the caller's promise.
        let blob = unsafe { argument(blob, "blob") }?;
        if fence < 0 {
            return Err(Failure::Argument("fence"));
        }
        // SAFETY: the caller's file, open during the call.
        let fence = unsafe { BorrowedFd::borrow_raw(fence) };
        blob.0.import_fence(fence, self::access(access))?;
        Ok(())
    })
}
