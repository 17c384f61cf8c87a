//! A look at a blob's file before it is mapped. A server that was taken over must not be able to
//! kill the process that maps what it sent.

use std::os::fd::BorrowedFd;

use rustix::fs::{SealFlags, SeekFrom};
use rustix::io::Errno;
use thiserror::Error;

/// `f_type` of a dma-buf, `DMA_BUF_MAGIC` in `linux/magic.h`.
const DMA_BUF_MAGIC: u64 = 0x444d_4142;

/// Why a file is not mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FileError {
    /// It is neither a dma-buf nor sealed against shrinking, and an access to what it lost would
    /// be a SIGBUS.
    #[error("file could shrink while it is mapped")]
    CanShrink,
    /// It ends before the blob does.
    #[error("file of {file} bytes is too small for {blob} bytes at {offset}")]
    TooSmall {
        /// Bytes of the file.
        file: u64,
        /// Bytes of the blob.
        blob: u64,
        /// Where the blob begins.
        offset: u64,
    },
    /// The blob does not begin at a page, is empty, or does not fit an address space.
    #[error("no mapping has {blob} bytes at {offset}")]
    Unmappable {
        /// Bytes of the blob.
        blob: u64,
        /// Where the blob begins.
        offset: u64,
    },
    /// It could not be looked at.
    #[error("cannot inspect the file")]
    Inspect(#[from] Errno),
}

/// Checks that `blob` bytes at `offset` can be mapped and stay there. Returns how many that is.
pub fn check(fd: BorrowedFd<'_>, offset: u64, blob: u64) -> Result<usize, FileError> {
    let page = u64::try_from(rustix::param::page_size()).unwrap_or(4096);
    let len = usize::try_from(blob)
        .ok()
        .filter(|len| isize::try_from(*len).is_ok_and(|len| len > 0));
    let Some(len) = len.filter(|_| offset.is_multiple_of(page)) else {
        return Err(FileError::Unmappable { blob, offset });
    };
    if !is_dma_buf(fd)? && !cannot_shrink(fd) {
        return Err(FileError::CanShrink);
    }
    let file = rustix::fs::seek(fd, SeekFrom::End(0))?;
    // The last page of a file is there as a whole.
    let end = offset.checked_add(blob);
    if end.is_none_or(|end| end > file.next_multiple_of(page)) {
        return Err(FileError::TooSmall { file, blob, offset });
    }
    Ok(len)
}

fn is_dma_buf(fd: BorrowedFd<'_>) -> Result<bool, Errno> {
    // The width of f_type differs between architectures; magic numbers are 32 bits.
    #[allow(
        clippy::cast_sign_loss,
        clippy::unnecessary_cast,
        reason = "magic numbers are bits"
    )]
    Ok(rustix::fs::fstatfs(fd)?.f_type as u64 & 0xffff_ffff == DMA_BUF_MAGIC)
}

fn cannot_shrink(fd: BorrowedFd<'_>) -> bool {
    rustix::fs::fcntl_get_seals(fd).is_ok_and(|seals| seals.contains(SealFlags::SHRINK))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::MemfdFlags;
    use std::os::fd::{AsFd, OwnedFd};

    fn memfd(size: u64, seals: SealFlags) -> OwnedFd {
        let fd = rustix::fs::memfd_create("blob", MemfdFlags::ALLOW_SEALING).unwrap();
        rustix::fs::ftruncate(&fd, size).unwrap();
        rustix::fs::fcntl_add_seals(&fd, seals).unwrap();
        fd
    }

    #[test]
    fn sealed_memfd_that_is_large_enough_is_mapped() {
        let fd = memfd(3 * 4096 + 40, SealFlags::SHRINK);
        assert_eq!(check(fd.as_fd(), 4096, 3 * 4096), Ok(3 * 4096));
        assert_eq!(check(fd.as_fd(), 0, 1), Ok(1));
    }

    #[test]
    fn file_that_can_shrink_is_refused() {
        let fd = memfd(8192, SealFlags::GROW);
        assert_eq!(check(fd.as_fd(), 0, 4096), Err(FileError::CanShrink));
        let file = tempfile::tempfile().unwrap();
        file.set_len(8192).unwrap();
        assert_eq!(check(file.as_fd(), 0, 4096), Err(FileError::CanShrink));
    }

    #[test]
    fn file_that_ends_before_the_blob_is_refused() {
        let fd = memfd(8192, SealFlags::SHRINK);
        for (offset, blob) in [(0, 8193), (4096, 4097), (8192, 1), (u64::MAX - 4095, 8192)] {
            let error = check(fd.as_fd(), offset, blob).unwrap_err();
            assert!(matches!(error, FileError::TooSmall { .. }), "{error}");
        }
    }

    #[test]
    fn blob_that_no_mapping_can_have_is_refused() {
        let fd = memfd(8192, SealFlags::SHRINK);
        for (offset, blob) in [(1, 4096), (0, 0), (0, u64::MAX), (0, 1 << 63)] {
            let error = check(fd.as_fd(), offset, blob).unwrap_err();
            assert_eq!(error, FileError::Unmappable { blob, offset });
        }
    }
}
