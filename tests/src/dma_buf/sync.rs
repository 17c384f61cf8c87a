//! Operations on dma-bufs as they are, without a second try (`linux/dma-buf.h`).

use std::ffi::CStr;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};

use bitflags::bitflags;
use rustix::io::Errno;
use rustix::ioctl::{IntegerSetter, Opcode, Setter, Updater, ioctl, opcode};

bitflags! {
    /// Flags of DMA_BUF_IOCTL_SYNC. A START is the want of [`SyncFlags::END`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct SyncFlags: u64 {
        /// DMA_BUF_SYNC_READ
        const READ = 1;
        /// DMA_BUF_SYNC_WRITE
        const WRITE = 2;
        /// DMA_BUF_SYNC_END
        const END = 4;
    }
}

const SYNC: Opcode = opcode::write::<u64>(b'b', 0);

/// `struct dma_buf_export_sync_file`
#[repr(C)]
struct ExportSyncFile {
    flags: u32,
    fd: i32,
}

/// DMA_BUF_SET_NAME_B
const SET_NAME: Opcode = opcode::write::<u64>(b'b', 1);

const EXPORT_SYNC_FILE: Opcode = opcode::read_write::<ExportSyncFile>(b'b', 2);

/// One end of a bracket, tried once.
///
/// # Errors
/// EINTR when a signal ended a wait, ENOTTY for what is no dma-buf, and what the exporter says.
pub fn sync(fd: impl AsFd, flags: SyncFlags) -> Result<(), Errno> {
    // SAFETY: the operation reads a `struct dma_buf_sync`, which is one 64-bit number.
    unsafe { ioctl(fd, Setter::<SYNC, u64>::new(flags.bits())) }
}

/// The fences that an access of these flags would wait for, as a file that can be polled.
///
/// # Errors
/// ENOTTY where the kernel has no CONFIG_SYNC_FILE.
pub fn export_sync_file(fd: impl AsFd, access: SyncFlags) -> Result<OwnedFd, Errno> {
    let mut argument = ExportSyncFile {
        flags: u32::try_from(access.bits()).map_err(|_| Errno::INVAL)?,
        fd: -1,
    };
    // SAFETY: the operation reads and writes a `struct dma_buf_export_sync_file`.
    unsafe { ioctl(fd, Updater::<EXPORT_SYNC_FILE, _>::new(&mut argument)) }?;
    // SAFETY: the kernel has just made this file for us.
    Ok(unsafe { OwnedFd::from_raw_fd(argument.fd) })
}

/// Names a dma-buf, for people who look at fdinfo.
///
/// # Errors
/// EINVAL for a name of more than 31 bytes.
pub fn set_name(fd: impl AsFd, name: &CStr) -> Result<(), Errno> {
    let name = name.as_ptr().cast_mut().cast();
    // SAFETY: the operation reads a string that lives through the call.
    unsafe { ioctl(fd, IntegerSetter::<SET_NAME>::new_pointer(name)) }
}
