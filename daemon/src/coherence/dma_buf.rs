//! What the kernel does for accesses to a dma-buf.

use std::os::fd::{AsFd, BorrowedFd};

use coherd_blob::Access;
use coherd_blob::bracket::{Edge, dma_buf_sync_flags};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::ioctl::{Setter, ioctl, opcode};

use super::access::AccessError;
use super::patience::Patience;

/// `DMA_BUF_IOCTL_SYNC`, whose argument is the `flags` of a `struct dma_buf_sync`.
const SYNC: rustix::ioctl::Opcode = opcode::write::<u64>(b'b', 0);

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_of_the_ioctl_is_that_of_the_kernel() {
        assert_eq!(SYNC, 0x4008_6200);
    }
}
