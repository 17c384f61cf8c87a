//! The opaque fd of Mesa's software rasteriser.
//!
//! Opaque fds cannot be mapped in general. llvmpipe's is a memfd (`os_malloc_aligned_fd`, Mesa
//! src/util/os_memory_fd.c) with a header in its first page and the data behind it. The header
//! holds the size that the renderer later passes to munmap, so its page must never reach a guest.

use std::os::fd::{AsFd, AsRawFd};

use rustix::fs::readlink;

use crate::backing::BackingError;

/// Where the data starts in every Mesa version that has been looked at.
const DATA_OFFSET: u64 = 4096;

/// The name the memfd has in `/proc/self/fd`.
const LINK_NAME: &[u8] = b"/memfd:llvmpipe memory fd (deleted)";

/// Offset of the data in an llvmpipe memory fd.
///
/// # Errors
/// [`BackingError::NotMappable`] if `fd` is any other opaque fd, or its header is not the one
/// this crate knows.
pub fn data_offset(fd: impl AsFd) -> Result<u64, BackingError> {
    let fd = fd.as_fd();
    let link = readlink(format!("/proc/self/fd/{}", fd.as_raw_fd()), Vec::new())?;
    if link.as_bytes() != LINK_NAME {
        return Err(BackingError::NotMappable(
            "an opaque fd of an unknown driver",
        ));
    }
    let mut header = [0u8; 16];
    if rustix::io::pread(fd, &mut header, 0)? != header.len() {
        return Err(BackingError::NotMappable(
            "an llvmpipe memory fd without its header",
        ));
    }
    let [_size, offset] =
        [&header[..8], &header[8..]].map(|word| word.try_into().map_or(0, u64::from_le_bytes));
    if offset != DATA_OFFSET {
        return Err(BackingError::NotMappable(
            "an llvmpipe memory fd of an unknown layout",
        ));
    }
    Ok(offset)
}
