//! The file behind a blob, checked before anybody maps it.
//!
//! Fds come from render workers that run guest contexts, so nothing about them is believed: what
//! the file is, how large it is and whether it can shrink under a mapping is read from the file.

mod file_id;
mod reopen;
#[cfg(test)]
mod tests;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use coherd_protocol::memory::Access;
use rustix::fs::{OFlags, SealFlags, SeekFrom};
use rustix::io::Errno;
use thiserror::Error;

pub use file_id::FileId;
pub use reopen::ReopenError;

pub use crate::exporter::is_dma_buf;
use crate::exporter::{Exporter, ExporterError};
use crate::llvmpipe;
use crate::memory_type::MapInfo;

/// Why a file cannot back a blob.
#[derive(Debug, Error)]
pub enum BackingError {
    /// The file is of a kind whose mapping has no known memory type.
    #[error("cannot map {0}")]
    NotMappable(&'static str),
    /// The file is not open for reading and writing, which QEMU insists on.
    #[error("file is not open for reading and writing")]
    NotReadWrite,
    /// The file is not open for reading, without which nothing can map it.
    #[error("file is not open for reading")]
    NotReadable,
    /// A blob without bytes.
    #[error("blob is empty")]
    Empty,
    /// The blob or its place in the file is not in whole pages.
    #[error("{blob} bytes at offset {offset} are not in whole pages of {page} bytes")]
    Unaligned {
        /// Bytes of the blob.
        blob: u64,
        /// Where the blob starts in the file.
        offset: u64,
        /// Bytes of a page of the file.
        page: u64,
    },
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
    /// The exporter of the file could not be found out.
    #[error("cannot find out the exporter of the file")]
    Exporter(#[source] ExporterError),
    /// The file could not be looked at.
    #[error("cannot inspect the file")]
    Inspect(#[from] Errno),
}

impl From<ExporterError> for BackingError {
    fn from(error: ExporterError) -> Self {
        match error {
            ExporterError::NotABuffer(what) => Self::NotMappable(what),
            error => Self::Exporter(error),
        }
    }
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

/// A file that may be mapped into a guest.
#[derive(Debug)]
pub struct Backing {
    fd: OwnedFd,
    kind: BackingKind,
    exporter: Exporter,
    access: Access,
    data_offset: u64,
    size: u64,
    page_size: u64,
    id: FileId,
}

impl Backing {
    /// Takes `fd` as the backing of a blob of `size` bytes, exported as `kind`, to be read and
    /// written.
    ///
    /// # Errors
    /// See [`BackingError`]; the fd is closed.
    pub fn new(fd: OwnedFd, kind: ExportKind, size: u64) -> Result<Self, BackingError> {
        Self::with_access(fd, kind, size, Access::READ | Access::WRITE)
    }

    /// Takes `fd` as the backing of a blob of `size` bytes, exported as `kind`, that is mapped for
    /// `needed`. Whatever that is, the file must be readable.
    ///
    /// # Errors
    /// See [`BackingError`]; the fd is closed.
    pub fn with_access(
        fd: OwnedFd,
        kind: ExportKind,
        size: u64,
        needed: Access,
    ) -> Result<Self, BackingError> {
        let access = check_access(fd.as_fd(), needed)?;
        let exporter = Exporter::of(&fd)?;
        let (kind, data_offset) = layout(fd.as_fd(), kind, &exporter)?;
        if !exporter.is_dma_buf() {
            seal_against_shrinking(fd.as_fd())?;
        }
        let page_size = page_size(fd.as_fd(), &exporter)?;
        check_extent(fd.as_fd(), data_offset, size, page_size)?;
        let id = FileId::of(&fd)?;
        Ok(Self {
            fd,
            kind,
            exporter,
            access,
            data_offset,
            size,
            page_size,
            id,
        })
    }

    /// What the backing really is.
    pub fn kind(&self) -> BackingKind {
        self.kind
    }

    /// Who exports the file.
    pub fn exporter(&self) -> &Exporter {
        &self.exporter
    }

    /// How an mmap of the file is cached, if the exporter alone decides it; see
    /// [`crate::exporter::fd_caching`].
    pub fn mmap_caching(&self) -> Option<MapInfo> {
        self.exporter.mmap_caching()
    }

    /// How the file may be mapped.
    pub fn access(&self) -> Access {
        self.access
    }

    /// Bytes of a page of the file: size, data offset and the address of a mapping are multiples
    /// of it. More than the system's page size for huge pages.
    pub fn page_size(&self) -> u64 {
        self.page_size
    }

    /// The file again, for somebody who may only read it.
    ///
    /// This guards against mistakes. A process that may write to the inode, as one of the same
    /// user, can open it for writing through `/proc`.
    ///
    /// # Errors
    /// See [`ReopenError`].
    pub fn open_read_only(&self) -> Result<OwnedFd, ReopenError> {
        reopen::read_only(self.fd.as_fd(), &self.exporter)
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

/// What the file is open for, if that is what is needed.
fn check_access(fd: BorrowedFd<'_>, needed: Access) -> Result<Access, BackingError> {
    let flags = rustix::fs::fcntl_getfl(fd)?;
    let mode = flags & OFlags::RWMODE;
    let access = if mode == OFlags::RDWR {
        Access::READ | Access::WRITE
    } else if mode == OFlags::RDONLY && !flags.contains(OFlags::PATH) {
        Access::READ
    } else {
        Access::empty()
    };
    match access.contains(needed | Access::READ) {
        true => Ok(access),
        false if needed.contains(Access::WRITE) => Err(BackingError::NotReadWrite),
        false => Err(BackingError::NotReadable),
    }
}

/// What a file is that is exported as `kind`, and where its data starts.
fn layout(
    fd: BorrowedFd<'_>,
    kind: ExportKind,
    exporter: &Exporter,
) -> Result<(BackingKind, u64), BackingError> {
    match (kind, exporter.is_dma_buf()) {
        (ExportKind::DmaBuf, true) => Ok((BackingKind::DmaBuf, 0)),
        (ExportKind::DmaBuf | ExportKind::Shm, false) => Ok((BackingKind::Memfd, 0)),
        (ExportKind::Opaque, false) => {
            Ok((BackingKind::MemfdWithHeader, llvmpipe::data_offset(fd)?))
        }
        (ExportKind::Shm, true) => Err(BackingError::NotMappable("a dma-buf as shared memory")),
        (ExportKind::Opaque, true) => Err(BackingError::NotMappable("a dma-buf as an opaque fd")),
    }
}

fn page_size(fd: BorrowedFd<'_>, exporter: &Exporter) -> Result<u64, Errno> {
    let system = u64::try_from(rustix::param::page_size()).unwrap_or(4096);
    match exporter {
        Exporter::HugetlbMemfd => {
            let huge = rustix::fs::fstat(fd)?.st_blksize;
            Ok(u64::try_from(huge).map_or(system, |huge| huge.max(system)))
        }
        _ => Ok(system),
    }
}

/// Checks that the blob is in whole pages and within the file.
fn check_extent(fd: BorrowedFd<'_>, offset: u64, blob: u64, page: u64) -> Result<(), BackingError> {
    let file = rustix::fs::seek(fd, SeekFrom::End(0))?;
    let end = offset.checked_add(blob);
    // The last page of a file is mappable as a whole.
    if end.is_none_or(|end| end > file.next_multiple_of(page)) {
        return Err(BackingError::TooSmall { file, blob, offset });
    }
    if blob == 0 {
        return Err(BackingError::Empty);
    }
    if !offset.is_multiple_of(page) || !blob.is_multiple_of(page) {
        return Err(BackingError::Unaligned { blob, offset, page });
    }
    Ok(())
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
