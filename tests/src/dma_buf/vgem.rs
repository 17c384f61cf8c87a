//! The DRM driver `vgem`: no hardware, buffers that map write-combined, and fences that user space
//! signals (`drm/vgem_drm.h`).

use std::fs;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::ioctl::{Opcode, Setter, Updater, ioctl, opcode};

use super::find::{self, NotFound};
use crate::skip::Need;

const CARDS: &str = "/sys/class/drm";
const NAME: &str = "vgem";

/// VGEM_FENCE_WRITE
const FENCE_WRITE: u32 = 1;

/// `struct drm_mode_create_dumb`
#[repr(C)]
struct CreateDumb {
    height: u32,
    width: u32,
    bits_per_pixel: u32,
    flags: u32,
    handle: u32,
    pitch: u32,
    size: u64,
}

/// `struct drm_prime_handle`
#[repr(C)]
struct PrimeHandle {
    handle: u32,
    flags: u32,
    fd: i32,
}

/// `struct drm_vgem_fence_attach`
#[repr(C)]
struct FenceAttach {
    handle: u32,
    flags: u32,
    out_fence: u32,
    pad: u32,
}

/// `struct drm_vgem_fence_signal`
#[repr(C)]
struct FenceSignal {
    fence: u32,
    flags: u32,
}

const CREATE_DUMB: Opcode = opcode::read_write::<CreateDumb>(b'd', 0xb2);
const HANDLE_TO_FD: Opcode = opcode::read_write::<PrimeHandle>(b'd', 0x2d);
const FENCE_ATTACH: Opcode = opcode::read_write::<FenceAttach>(b'd', 0x41);
const FENCE_SIGNAL: Opcode = opcode::write::<FenceSignal>(b'd', 0x42);

/// The device.
#[derive(Debug)]
pub struct Vgem(OwnedFd);

impl Vgem {
    /// Opens it; `None`, and a line that says so, where there is none.
    ///
    /// # Errors
    /// See [`NotFound`].
    pub fn find() -> Result<Option<Self>, NotFound> {
        match node() {
            Some(path) => Ok(find::open(&path)?.map(Self)),
            None => {
                Need::DmaBuf.skip("vgem device")?;
                Ok(None)
            }
        }
    }

    /// Makes a buffer of so many bytes, a multiple of a page.
    ///
    /// # Errors
    /// EINVAL for a size that is no number of pages, and what the driver says.
    pub fn allocate(&self, size: u64) -> Result<Buffer<'_>, Errno> {
        let page = u64::try_from(rustix::param::page_size()).unwrap_or(4096);
        if !size.is_multiple_of(page) {
            return Err(Errno::INVAL);
        }
        let mut dumb = CreateDumb {
            height: u32::try_from(size / page).map_err(|_| Errno::INVAL)?,
            width: u32::try_from(page / 4).map_err(|_| Errno::INVAL)?,
            bits_per_pixel: 32,
            flags: 0,
            handle: 0,
            pitch: 0,
            size: 0,
        };
        // SAFETY: the operation reads and writes a `struct drm_mode_create_dumb`.
        unsafe { ioctl(&self.0, Updater::<CREATE_DUMB, _>::new(&mut dumb)) }?;
        let mut prime = PrimeHandle {
            handle: dumb.handle,
            flags: (OFlags::RDWR | OFlags::CLOEXEC).bits(),
            fd: -1,
        };
        // SAFETY: the operation reads and writes a `struct drm_prime_handle`.
        unsafe { ioctl(&self.0, Updater::<HANDLE_TO_FD, _>::new(&mut prime)) }?;
        // SAFETY: the kernel has just made this file for us.
        let fd = unsafe { OwnedFd::from_raw_fd(prime.fd) };
        Ok(Buffer {
            vgem: self,
            handle: dumb.handle,
            fd,
        })
    }
}

/// A buffer and its dma-buf; the driver's handle goes with the device.
#[derive(Debug)]
pub struct Buffer<'vgem> {
    vgem: &'vgem Vgem,
    handle: u32,
    fd: OwnedFd,
}

impl Buffer<'_> {
    /// Another file of the dma-buf.
    ///
    /// # Errors
    /// The error of fcntl.
    pub fn fd(&self) -> Result<OwnedFd, Errno> {
        rustix::io::fcntl_dupfd_cloexec(&self.fd, 0)
    }

    /// Makes the buffer busy, as a GPU that writes to it would, until the fence is signalled. The
    /// driver does so itself after ten seconds.
    ///
    /// # Errors
    /// EBUSY if it is busy already.
    pub fn busy(&self) -> Result<Fence<'_>, Errno> {
        let mut attach = FenceAttach {
            handle: self.handle,
            flags: FENCE_WRITE,
            out_fence: 0,
            pad: 0,
        };
        // SAFETY: the operation reads and writes a `struct drm_vgem_fence_attach`.
        unsafe { ioctl(&self.vgem.0, Updater::<FENCE_ATTACH, _>::new(&mut attach)) }?;
        Ok(Fence {
            vgem: self.vgem,
            id: attach.out_fence,
        })
    }
}

impl AsFd for Buffer<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A fence of a busy buffer.
#[derive(Debug)]
pub struct Fence<'vgem> {
    vgem: &'vgem Vgem,
    id: u32,
}

impl Fence<'_> {
    /// Makes the buffer idle.
    ///
    /// # Errors
    /// ETIMEDOUT if the driver has done so before.
    pub fn signal(self) -> Result<(), Errno> {
        let signal = FenceSignal {
            fence: self.id,
            flags: 0,
        };
        // SAFETY: the operation reads a `struct drm_vgem_fence_signal`.
        unsafe { ioctl(&self.vgem.0, Setter::<FENCE_SIGNAL, _>::new(signal)) }
    }
}

/// The primary node, since the render node makes no dumb buffers.
fn node() -> Option<PathBuf> {
    let listing = fs::read_dir(CARDS).ok()?;
    listing.flatten().find_map(|entry| {
        let name = entry.file_name();
        let name = name.to_str().filter(|name| name.starts_with("card"))?;
        let device = fs::read_link(entry.path().join("device")).ok()?;
        device
            .ends_with(NAME)
            .then(|| Path::new("/dev/dri").join(name))
    })
}
