//! One function for each ioctl.

#![allow(unsafe_code, reason = "ioctls take addresses")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use bitflags::bitflags;
use rustix::io::Errno;
use rustix::ioctl::{Opcode, Updater, ioctl};

use super::numbers;
use super::structs::{
    ContextInit, ContextParam, CreateBlob, ExecBuffer, GemClose, GetCaps, GetParam, Map,
    PrimeHandle, ResourceInfo, Version,
};

/// Bytes of a driver's name that are looked at.
const NAME_LEN: usize = 32;

bitflags! {
    /// `VIRTGPU_BLOB_FLAG_USE_*`
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct BlobFlags: u32 {
        /// It can be mapped.
        const MAPPABLE = 1 << 0;
        /// It is shared with other contexts of the device.
        const SHAREABLE = 1 << 1;
    }
}

/// `VIRTGPU_PARAM_*`, what a device and its driver can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
#[allow(missing_docs, reason = "named as in the kernel")]
pub enum Parameter {
    HostVisible = 4,
    ContextInit = 6,
    SupportedCapsetIds = 7,
}

/// A blob as the kernel knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobHandle {
    /// GEM handle, a name within this open file.
    pub handle: u32,
    /// Resource id, the device's name.
    pub resource_id: u32,
}

/// Repeats an ioctl until it is neither interrupted nor told to try again, as libdrm does.
///
/// # Safety
/// `OPCODE` has to be that of an ioctl which takes `T`, and the addresses in `argument` have to be
/// of memory that the ioctl may read or write as it does.
unsafe fn call<const OPCODE: Opcode, T>(fd: BorrowedFd<'_>, argument: &mut T) -> io::Result<()> {
    loop {
        // SAFETY: the caller's promise.
        match unsafe { ioctl(fd, Updater::<OPCODE, T>::new(argument)) } {
            Err(Errno::INTR | Errno::AGAIN) => {}
            result => return result.map_err(Into::into),
        }
    }
}

fn address<T>(pointer: *const T) -> u64 {
    u64::try_from(pointer.expose_provenance()).unwrap_or(0)
}

fn length(bytes: &[u8]) -> io::Result<u32> {
    u32::try_from(bytes.len()).map_err(|_| io::ErrorKind::InvalidInput.into())
}

/// The name of the driver behind a DRM node (`drivers/gpu/drm/drm_ioctl.c`, `drm_version`).
pub fn driver_name(fd: BorrowedFd<'_>) -> io::Result<String> {
    let mut name = [0u8; NAME_LEN];
    let mut version = Version {
        major: 0,
        minor: 0,
        patch: 0,
        name_len: name.len(),
        name: name.as_mut_ptr(),
        date_len: 0,
        date: std::ptr::null_mut(),
        description_len: 0,
        description: std::ptr::null_mut(),
    };
    // SAFETY: `name` is as long as `name_len` says, and the other texts have no length. The kernel
    // writes no more than these lengths.
    unsafe { call::<{ numbers::VERSION }, _>(fd, &mut version)? };
    let len = version.name_len.min(name.len());
    Ok(String::from_utf8_lossy(name.get(..len).unwrap_or_default()).into_owned())
}

/// The value of a parameter; 0 for one that this kernel does not know
/// (`virtgpu_ioctl.c`, `virtio_gpu_getparam_ioctl`).
pub fn parameter(fd: BorrowedFd<'_>, parameter: Parameter) -> io::Result<i32> {
    let mut value = 0i32;
    let mut argument = GetParam {
        param: parameter as u64,
        value: address(&raw mut value),
    };
    // SAFETY: `value` is the address of an `int`, which the kernel writes.
    match unsafe { call::<{ numbers::GETPARAM }, _>(fd, &mut argument) } {
        Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => Ok(0),
        result => result.map(|()| value),
    }
}

/// Makes the open file a context of this capset with so many rings, once and for all
/// (`virtgpu_ioctl.c`, `virtio_gpu_context_init_ioctl`). No ring is polled: a polled ring puts an
/// event into the file for each fence, and fails once nobody reads them.
pub fn init_context(fd: BorrowedFd<'_>, capset: u32, rings: u32) -> io::Result<()> {
    let params = [
        ContextParam {
            param: numbers::CONTEXT_PARAM_CAPSET_ID,
            value: capset.into(),
        },
        ContextParam {
            param: numbers::CONTEXT_PARAM_NUM_RINGS,
            value: rings.into(),
        },
    ];
    let mut argument = ContextInit {
        num_params: 2,
        pad: 0,
        ctx_set_params: address(params.as_ptr()),
    };
    // SAFETY: the kernel reads `num_params` parameters, which `params` has.
    unsafe { call::<{ numbers::CONTEXT_INIT }, _>(fd, &mut argument) }
}

/// Copies the beginning of a capset; what is longer than the capset is left as it is
/// (`virtgpu_ioctl.c`, `virtio_gpu_get_caps_ioctl`).
pub fn capset(fd: BorrowedFd<'_>, id: u32, version: u32, out: &mut [u8]) -> io::Result<()> {
    let mut argument = GetCaps {
        cap_set_id: id,
        cap_set_ver: version,
        addr: address(out.as_mut_ptr()),
        size: length(out)?,
        pad: 0,
    };
    // SAFETY: the kernel writes at most `size` bytes, which `out` has.
    unsafe { call::<{ numbers::GET_CAPS }, _>(fd, &mut argument) }
}

/// Makes a blob of guest memory (`virtgpu_ioctl.c`, `virtio_gpu_resource_create_blob_ioctl`).
pub fn create_guest_blob(fd: BorrowedFd<'_>, size: u64) -> io::Result<BlobHandle> {
    create_blob(
        fd,
        CreateBlob {
            blob_mem: numbers::BLOB_MEM_GUEST,
            blob_flags: BlobFlags::MAPPABLE.bits(),
            size,
            ..CreateBlob::default()
        },
    )
}

/// Makes a blob of an object of the context. The device's refusal does not come back; the blob
/// just cannot be used then.
pub fn create_host_blob(
    fd: BorrowedFd<'_>,
    blob_id: u64,
    size: u64,
    flags: BlobFlags,
) -> io::Result<BlobHandle> {
    create_blob(
        fd,
        CreateBlob {
            blob_mem: numbers::BLOB_MEM_HOST3D,
            blob_flags: flags.bits(),
            size,
            blob_id,
            ..CreateBlob::default()
        },
    )
}

fn create_blob(fd: BorrowedFd<'_>, mut argument: CreateBlob) -> io::Result<BlobHandle> {
    // SAFETY: `cmd_size` is 0, so that the kernel follows no address.
    unsafe { call::<{ numbers::CREATE_BLOB }, _>(fd, &mut argument)? };
    Ok(BlobHandle {
        handle: argument.bo_handle,
        resource_id: argument.res_handle,
    })
}

/// Gives a handle back (`drivers/gpu/drm/drm_gem.c`, `drm_gem_close_ioctl`).
pub fn close(fd: BorrowedFd<'_>, handle: u32) -> io::Result<()> {
    let mut argument = GemClose { handle, pad: 0 };
    // SAFETY: there is no address in the argument.
    unsafe { call::<{ numbers::GEM_CLOSE }, _>(fd, &mut argument) }
}

/// Where in the file a blob is mapped from (`virtgpu_ioctl.c`, `virtio_gpu_map_ioctl`).
pub fn map_offset(fd: BorrowedFd<'_>, handle: u32) -> io::Result<u64> {
    let mut argument = Map {
        offset: 0,
        handle,
        pad: 0,
    };
    // SAFETY: there is no address in the argument.
    unsafe { call::<{ numbers::MAP }, _>(fd, &mut argument)? };
    Ok(argument.offset)
}

/// Sends a command stream to the context (`virtgpu_submit.c`, `virtio_gpu_execbuffer_ioctl`).
pub fn submit(fd: BorrowedFd<'_>, stream: &[u8]) -> io::Result<()> {
    exec_buffer(fd, stream, 0).map(|_| ())
}

/// Sends a command stream and returns a sync file of its fence on ring 0 of the context.
pub fn submit_fenced(fd: BorrowedFd<'_>, stream: &[u8]) -> io::Result<OwnedFd> {
    let flags = numbers::EXECBUF_FENCE_FD_OUT | numbers::EXECBUF_RING_IDX;
    let fence = exec_buffer(fd, stream, flags)?;
    if fence < 0 {
        return Err(io::Error::other("the kernel returned no fence"));
    }
    // SAFETY: with FENCE_FD_OUT the kernel has put a new file there, which nobody else has
    // (`virtio_gpu_install_out_fence_fd`).
    Ok(unsafe { OwnedFd::from_raw_fd(fence) })
}

fn exec_buffer(fd: BorrowedFd<'_>, stream: &[u8], flags: u32) -> io::Result<i32> {
    let mut argument = ExecBuffer {
        flags,
        size: length(stream)?,
        command: address(stream.as_ptr()),
        bo_handles: 0,
        num_bo_handles: 0,
        fence_fd: -1,
        ring_idx: 0,
        pad: 0,
    };
    // SAFETY: the kernel reads `size` bytes, which `stream` has, and no handles.
    unsafe { call::<{ numbers::EXECBUFFER }, _>(fd, &mut argument)? };
    Ok(argument.fence_fd)
}

/// The resource behind a handle (`virtgpu_ioctl.c`, `virtio_gpu_resource_info_ioctl`).
pub fn resource_id(fd: BorrowedFd<'_>, handle: u32) -> io::Result<u32> {
    let mut argument = ResourceInfo {
        bo_handle: handle,
        res_handle: 0,
        size: 0,
        blob_mem: 0,
    };
    // SAFETY: there is no address in the argument.
    unsafe { call::<{ numbers::RESOURCE_INFO }, _>(fd, &mut argument)? };
    Ok(argument.res_handle)
}

/// A dma-buf of a blob (`drivers/gpu/drm/drm_prime.c`, `drm_prime_handle_to_fd_ioctl`).
pub fn export(fd: BorrowedFd<'_>, handle: u32) -> io::Result<OwnedFd> {
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC;
    let mut argument = PrimeHandle {
        handle,
        flags: flags.bits(),
        fd: -1,
    };
    // SAFETY: there is no address in the argument.
    unsafe { call::<{ numbers::PRIME_HANDLE_TO_FD }, _>(fd, &mut argument)? };
    if argument.fd < 0 {
        return Err(io::Error::other("the kernel returned no file"));
    }
    // SAFETY: the kernel has put a new file there, which nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(argument.fd) })
}

/// A handle of a dma-buf that a virtio-gpu file exported. The same blob has the same handle each
/// time within a file, and is not counted (`drm_prime.c`, `drm_gem_prime_fd_to_handle`).
pub fn import(fd: BorrowedFd<'_>, file: BorrowedFd<'_>) -> io::Result<u32> {
    let mut argument = PrimeHandle {
        handle: 0,
        flags: 0,
        fd: file.as_raw_fd(),
    };
    // SAFETY: there is no address in the argument.
    unsafe { call::<{ numbers::PRIME_FD_TO_HANDLE }, _>(fd, &mut argument)? };
    Ok(argument.handle)
}
