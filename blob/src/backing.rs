//! The file behind a blob, checked before anybody maps it.
//!
//! Fds come from render workers that run guest contexts, so nothing about them is believed: what
//! the file is, how large it is and whether it can shrink under a mapping is read from the file.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, OFlags, SealFlags, SeekFrom};
use rustix::io::Errno;
use thiserror::Error;

use crate::llvmpipe;

/// `f_type` of a dma-buf, `DMA_BUF_MAGIC` in `linux/magic.h`.
const DMA_BUF_MAGIC: u64 = 0x444d_4142;
/// `f_type` of tmpfs and memfds, `TMPFS_MAGIC`.
const TMPFS_MAGIC: u64 = 0x0102_1994;
/// `f_type` of huge page memfds, `HUGETLBFS_MAGIC`.
const HUGETLBFS_MAGIC: u64 = 0x9584_58f6;

/// Why a file cannot back a blob.
#[derive(Debug, Error)]
pub enum BackingError {
    /// The file is of a kind whose mapping has no known memory type.
    #[error("cannot map {0}")]
    NotMappable(&'static str),
    /// The file is not open for reading and writing, which QEMU insists on.
    #[error("file is not open for reading and writing")]
    NotReadWrite,
    /// The file ends before the blob does.
    #[error("file of {file} bytes is too small for {blob} bytes at offset {offset}")]
    TooSmall {
        /// Bytes in the file.
        file: u64,
        /// Bytes of the blob.
        blob: u64,
        /// Where the blob starts in the file.
        offset: u64,
    },
    /// The file could shrink under a mapping, and a guest access would then kill the VMM.
    #[error("memfd can shrink and cannot be sealed")]
    CanShrink,
    /// The file could not be looked at.
    #[error("cannot inspect the file")]
    Inspect(#[from] Errno),
}

/// What the exporter says an fd is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportKind {
    /// A dma-buf.
    DmaBuf,
    /// Plain shared memory.
    Shm,
    /// A Vulkan opaque fd.
    Opaque,
}

/// What a backing really is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackingKind {
    /// A dma-buf.
    DmaBuf,
    /// A memfd, mapped from its start.
    Memfd,
    /// A memfd whose data follows a private header.
    MemfdWithHeader,
}

/// Identity of an open file: equal for two fds if and only if they share the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    /// The identity of the file behind `fd`.
    ///
    /// # Errors
    /// The error of fstat.
    pub fn of(fd: impl AsFd) -> Result<Self, Errno> {
        let stat = rustix::fs::fstat(fd)?;
        Ok(Self {
            device: stat.st_dev,
            inode: stat.st_ino,
        })
    }
}

/// Whether `fd` is a dma-buf.
///
/// # Errors
/// The error of fstatfs.
pub fn is_dma_buf(fd: impl AsFd) -> Result<bool, Errno> {
    Ok(file_system(fd.as_fd())? == DMA_BUF_MAGIC)
}

/// A file that may be mapped into a guest.
#[derive(Debug)]
pub struct Backing {
    fd: OwnedFd,
    kind: BackingKind,
    data_offset: u64,
    size: u64,
    id: FileId,
}

impl Backing {
    /// Takes `fd` as the backing of a blob of `size` bytes, exported as `kind`.
    ///
    /// # Errors
    /// See [`BackingError`]; the fd is closed.
    pub fn new(fd: OwnedFd, kind: ExportKind, size: u64) -> Result<Self, BackingError> {
        let flags = rustix::fs::fcntl_getfl(&fd)?;
        if flags & OFlags::RWMODE != OFlags::RDWR {
            return Err(BackingError::NotReadWrite);
        }
        let (kind, data_offset) = match (file_system(fd.as_fd())?, kind) {
            (DMA_BUF_MAGIC, ExportKind::DmaBuf) => (BackingKind::DmaBuf, 0),
            // Device nodes live on a tmpfs too.
            (TMPFS_MAGIC | HUGETLBFS_MAGIC, _) if !is_regular_file(fd.as_fd())? => {
                return Err(BackingError::NotMappable("a device node"));
            }
            (TMPFS_MAGIC | HUGETLBFS_MAGIC, ExportKind::DmaBuf | ExportKind::Shm) => {
                (BackingKind::Memfd, 0)
            }
            (TMPFS_MAGIC, ExportKind::Opaque) => {
                (BackingKind::MemfdWithHeader, llvmpipe::data_offset(&fd)?)
            }
            (_, ExportKind::Opaque) => {
                return Err(BackingError::NotMappable(
                    "an opaque fd of an unknown driver",
                ));
            }
            _ => return Err(BackingError::NotMappable("a file of an unknown exporter")),
        };
        if kind != BackingKind::DmaBuf {
            seal_against_shrinking(fd.as_fd())?;
        }
        let file = rustix::fs::seek(&fd, SeekFrom::End(0))?;
        let page = u64::try_from(rustix::param::page_size()).unwrap_or(4096);
        let end = data_offset.checked_add(size);
        // The last page of a file is mappable as a whole.
        if end.is_none_or(|end| end > file.next_multiple_of(page)) {
            return Err(BackingError::TooSmall {
                file,
                blob: size,
                offset: data_offset,
            });
        }
        let id = FileId::of(&fd)?;
        Ok(Self {
            fd,
            kind,
            data_offset,
            size,
            id,
        })
    }

    /// What the backing really is.
    pub fn kind(&self) -> BackingKind {
        self.kind
    }

    /// Where the blob starts in the file, in bytes.
    pub fn data_offset(&self) -> u64 {
        self.data_offset
    }

    /// Bytes of the blob.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Identity of the file.
    pub fn id(&self) -> FileId {
        self.id
    }
}

impl AsFd for Backing {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn is_regular_file(fd: BorrowedFd<'_>) -> Result<bool, Errno> {
    Ok(FileType::from_raw_mode(rustix::fs::fstat(fd)?.st_mode) == FileType::RegularFile)
}

fn file_system(fd: BorrowedFd<'_>) -> Result<u64, Errno> {
    // The width of f_type differs between architectures; magic numbers are 32 bits.
    #[allow(
        clippy::cast_sign_loss,
        clippy::unnecessary_cast,
        reason = "magic numbers are bits"
    )]
    Ok(rustix::fs::fstatfs(fd)?.f_type as u64 & 0xffff_ffff)
}

fn seal_against_shrinking(fd: BorrowedFd<'_>) -> Result<(), BackingError> {
    let sealed = |fd| -> Result<bool, Errno> {
        Ok(rustix::fs::fcntl_get_seals(fd)?.contains(SealFlags::SHRINK))
    };
    if sealed(fd)? {
        return Ok(());
    }
    rustix::fs::fcntl_add_seals(fd, SealFlags::SHRINK).map_err(|_| BackingError::CanShrink)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::MemfdFlags;

    fn memfd(name: &str, size: u64) -> OwnedFd {
        let fd = rustix::fs::memfd_create(name, MemfdFlags::ALLOW_SEALING).unwrap();
        rustix::fs::ftruncate(&fd, size).unwrap();
        fd
    }

    fn llvmpipe_fd(offset: u64, size: u64) -> OwnedFd {
        let fd = memfd("llvmpipe memory fd", 4096 + size + 40);
        let header = [(size + 4136).to_le_bytes(), offset.to_le_bytes()].concat();
        rustix::io::pwrite(&fd, &header, 0).unwrap();
        fd
    }

    #[test]
    fn memfd_is_taken_and_sealed() {
        let fd = memfd("ring", 8192);

        let backing = Backing::new(fd, ExportKind::Shm, 8192).unwrap();

        assert_eq!(backing.kind(), BackingKind::Memfd);
        assert_eq!(backing.data_offset(), 0);
        let seals = rustix::fs::fcntl_get_seals(&backing).unwrap();
        assert!(seals.contains(SealFlags::SHRINK));
    }

    #[test]
    fn memfd_smaller_than_the_blob_is_refused() {
        let error = Backing::new(memfd("ring", 4096), ExportKind::Shm, 8192).unwrap_err();
        assert!(matches!(
            error,
            BackingError::TooSmall {
                file: 4096,
                blob: 8192,
                offset: 0
            }
        ));
    }

    #[test]
    fn size_that_overflows_with_the_offset_is_refused() {
        let fd = llvmpipe_fd(4096, 4096);
        let error = Backing::new(fd, ExportKind::Opaque, u64::MAX - 100).unwrap_err();
        assert!(matches!(error, BackingError::TooSmall { .. }));
    }

    #[test]
    fn memfd_that_cannot_be_sealed_is_refused() {
        let fd = memfd("ring", 4096);
        rustix::fs::fcntl_add_seals(&fd, SealFlags::SEAL).unwrap();
        let error = Backing::new(fd, ExportKind::Shm, 4096).unwrap_err();
        assert!(matches!(error, BackingError::CanShrink));
    }

    #[test]
    fn read_only_fd_is_refused() {
        let fd = memfd("ring", 4096);
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd));
        let read_only = rustix::fs::open(path, OFlags::RDONLY, rustix::fs::Mode::empty()).unwrap();
        let error = Backing::new(read_only, ExportKind::Shm, 4096).unwrap_err();
        assert!(matches!(error, BackingError::NotReadWrite));
    }

    #[test]
    fn llvmpipe_opaque_fd_is_mapped_behind_its_header() {
        let backing = Backing::new(llvmpipe_fd(4096, 8192), ExportKind::Opaque, 8192).unwrap();
        assert_eq!(backing.kind(), BackingKind::MemfdWithHeader);
        assert_eq!(backing.data_offset(), 4096);
    }

    #[test]
    fn llvmpipe_header_with_another_offset_is_refused() {
        for offset in [0, 64, 8192, u64::MAX] {
            let fd = llvmpipe_fd(offset, 4096);
            let error = Backing::new(fd, ExportKind::Opaque, 4096).unwrap_err();
            assert!(matches!(error, BackingError::NotMappable(_)), "{offset}");
        }
    }

    #[test]
    fn opaque_fd_of_another_driver_is_refused() {
        let error = Backing::new(memfd("x", 8192), ExportKind::Opaque, 4096).unwrap_err();
        assert!(matches!(error, BackingError::NotMappable(_)));
    }

    #[test]
    fn device_node_is_refused() {
        let fd = rustix::fs::open("/dev/null", OFlags::RDWR, rustix::fs::Mode::empty()).unwrap();
        let error = Backing::new(fd, ExportKind::DmaBuf, 4096).unwrap_err();
        assert!(matches!(error, BackingError::NotMappable(_)));
    }

    #[test]
    fn file_of_an_unknown_exporter_is_refused() {
        let (fd, _peer) = std::os::unix::net::UnixStream::pair().unwrap();
        let error = Backing::new(fd.into(), ExportKind::DmaBuf, 4096).unwrap_err();
        assert!(matches!(error, BackingError::NotMappable(_)));
    }

    #[test]
    fn two_fds_of_one_file_have_one_identity() {
        let fd = memfd("a", 4096);
        let again = fd.try_clone().unwrap();
        assert_eq!(FileId::of(&fd).unwrap(), FileId::of(&again).unwrap());
        assert_ne!(
            FileId::of(&fd).unwrap(),
            FileId::of(memfd("a", 4096)).unwrap()
        );
    }
}
