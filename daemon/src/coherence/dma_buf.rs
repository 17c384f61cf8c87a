//! What the kernel does for accesses to a dma-buf.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use coherd_blob::Access;
use coherd_blob::bracket::{Edge, dma_buf_sync_flags};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::ioctl::{Opcode, Setter, Updater, ioctl, opcode};

use super::access::AccessError;
use super::patience::Patience;

/// `DMA_BUF_IOCTL_SYNC`, whose argument is the `flags` of a `struct dma_buf_sync`.
const SYNC: Opcode = opcode::write::<u64>(b'b', 0);

/// `struct dma_buf_export_sync_file`, and `struct dma_buf_import_sync_file`, which is the same. Its
/// flags are those of [`Access`].
#[repr(C)]
struct SyncFile {
    flags: u32,
    fd: i32,
}

/// `DMA_BUF_IOCTL_EXPORT_SYNC_FILE`, since Linux 6.0.
const EXPORT_SYNC_FILE: Opcode = opcode::read_write::<SyncFile>(b'b', 2);

/// `DMA_BUF_IOCTL_IMPORT_SYNC_FILE`, since Linux 6.0.
const IMPORT_SYNC_FILE: Opcode = opcode::write::<SyncFile>(b'b', 3);

/// Waits for the fences of a dma-buf that conflict with an access, which DMA_BUF_IOCTL_SYNC would
/// do without a deadline.
pub fn wait(
    fd: BorrowedFd<'_>,
    access: Access,
    patience: &Patience<'_>,
) -> Result<(), AccessError> {
    // To write, readers have to be done too.
    let done = if access.contains(Access::WRITE) {
        PollFlags::OUT
    } else {
        PollFlags::IN
    };
    loop {
        let mut fds = [PollFd::from_borrowed_fd(fd, done)];
        match poll(&mut fds, Some(&Timespec::default())) {
            Ok(0) => {}
            // An exporter without fences is always ready.
            Ok(_) => return Ok(()),
            Err(Errno::INTR | Errno::AGAIN) => continue,
            Err(errno) => return Err(AccessError::Kernel(errno)),
        }
        let slice = patience.slice()?;
        let slice = Timespec {
            tv_sec: 0,
            tv_nsec: slice.subsec_nanos().into(),
        };
        match poll(&mut fds, Some(&slice)) {
            Ok(_) | Err(Errno::INTR | Errno::AGAIN) => {}
            Err(errno) => return Err(AccessError::Kernel(errno)),
        }
    }
}

/// DMA_BUF_IOCTL_SYNC, as often as it is interrupted.
pub fn sync(
    fd: impl AsFd,
    edge: Edge,
    access: Access,
    patience: &Patience<'_>,
) -> Result<(), AccessError> {
    let flags = dma_buf_sync_flags(edge, access);
    loop {
        // SAFETY: the argument of DMA_BUF_IOCTL_SYNC is a `struct dma_buf_sync`, which is one
        // u64 that the kernel reads. Other files answer ENOTTY.
        #[allow(unsafe_code, reason = "there is no wrapper for this ioctl")]
        let result = unsafe { ioctl(&fd, Setter::<SYNC, u64>::new(flags)) };
        match result {
            Ok(()) => return Ok(()),
            Err(Errno::INTR | Errno::AGAIN) => patience.slice().map(drop)?,
            Err(errno) => return Err(AccessError::Kernel(errno)),
        }
    }
}

/// A file of the fences that `access` would have to wait for. Waits for nothing.
///
/// # Errors
/// [`Errno::NOTTY`] for what is no dma-buf, or where the kernel has no such files.
pub fn export_sync_file(fd: impl AsFd, access: Access) -> Result<OwnedFd, Errno> {
    let mut argument = SyncFile {
        flags: access.bits(),
        fd: -1,
    };
    // SAFETY: the kernel reads and writes a `struct dma_buf_export_sync_file`. Other files answer
    // ENOTTY.
    #[allow(unsafe_code, reason = "there is no wrapper for this ioctl")]
    unsafe { ioctl(fd, Updater::<EXPORT_SYNC_FILE, _>::new(&mut argument)) }?;
    // SAFETY: the kernel has just made this file for us.
    #[allow(unsafe_code, reason = "ownership of a new fd")]
    Ok(unsafe { OwnedFd::from_raw_fd(argument.fd) })
}

/// Adds the fences of a file, whose work does `access`, to those of a dma-buf. May wait for a
/// driver that has the dma-buf locked.
///
/// # Errors
/// [`Errno::NOTTY`] as above, and [`Errno::INVAL`] for a file that has no fences.
pub fn import_sync_file(
    fd: impl AsFd,
    access: Access,
    fences: BorrowedFd<'_>,
) -> Result<(), Errno> {
    let argument = SyncFile {
        flags: access.bits(),
        fd: fences.as_raw_fd(),
    };
    // SAFETY: the kernel reads a `struct dma_buf_import_sync_file`. Other files answer ENOTTY.
    #[allow(unsafe_code, reason = "there is no wrapper for this ioctl")]
    unsafe {
        ioctl(fd, Setter::<IMPORT_SYNC_FILE, _>::new(argument))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_the_ioctls_are_those_of_the_kernel() {
        assert_eq!(SYNC, 0x4008_6200);
        assert_eq!(EXPORT_SYNC_FILE, 0xc008_6202);
        assert_eq!(IMPORT_SYNC_FILE, 0x4008_6203);
    }
}
