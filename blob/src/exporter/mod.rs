//! Who exports an fd, and how an mmap of it is cached.
//!
//! No kernel interface reports the caching of an mmap. It follows from the exporter, and where
//! that name stands for several drivers, from the memory type that the allocator gave.

mod caching;
mod fdinfo;

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::FileType;
use rustix::io::Errno;
use thiserror::Error;

pub use caching::{Allocated, Location, fd_caching};

use crate::memory_type::MapInfo;

/// `f_type` of a dma-buf, `DMA_BUF_MAGIC` in `linux/magic.h`.
const DMA_BUF_MAGIC: u64 = 0x444d_4142;
/// `f_type` of tmpfs and memfds, `TMPFS_MAGIC`.
const TMPFS_MAGIC: u64 = 0x0102_1994;
/// `f_type` of huge page memfds, `HUGETLBFS_MAGIC`.
const HUGETLBFS_MAGIC: u64 = 0x9584_58f6;

/// Why nothing is known of an fd.
#[derive(Debug, Error)]
pub enum ExporterError {
    /// The fd is neither a dma-buf nor shared memory.
    #[error("{0} is not a buffer")]
    NotABuffer(&'static str),
    /// The file could not be looked at.
    #[error("cannot inspect the file")]
    Inspect(#[from] Errno),
    /// The exporter's name could not be read.
    #[error("cannot read the exporter's name from /proc/self/fdinfo, is /proc mounted?")]
    Fdinfo(#[source] io::Error),
    /// fdinfo of a dma-buf has no `exp_name`.
    #[error("the kernel does not name the exporter of the dma-buf")]
    Unnamed,
}

/// Who exports an fd.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Exporter {
    /// A memfd, or another file of a tmpfs.
    Memfd,
    /// A memfd of huge pages.
    HugetlbMemfd,
    /// A dma-buf over a memfd, made by `/dev/udmabuf`.
    Udmabuf,
    /// A dma-buf of the heap `/dev/dma_heap/system`.
    SystemHeap,
    /// A dma-buf of one of the DRM drivers that share an exporter: amdgpu, xe, vgem, most others.
    Drm,
    /// A dma-buf of i915.
    I915,
    /// A dma-buf of an exporter of this name.
    Other(String),
}

impl Exporter {
    /// The exporter of `fd`.
    ///
    /// # Errors
    /// See [`ExporterError`].
    pub fn of(fd: impl AsFd) -> Result<Self, ExporterError> {
        let fd = fd.as_fd();
        let file_system = file_system(fd)?;
        if file_system == DMA_BUF_MAGIC {
            let fdinfo = fdinfo::read(fd).map_err(ExporterError::Fdinfo)?;
            return fdinfo::exporter_name(&fdinfo)
                .map(Self::from_name)
                .ok_or(ExporterError::Unnamed);
        }
        if FileType::from_raw_mode(rustix::fs::fstat(fd)?.st_mode) != FileType::RegularFile {
            // Device nodes live on a tmpfs too.
            return Err(ExporterError::NotABuffer("a device node or socket"));
        }
        match file_system {
            TMPFS_MAGIC => Ok(Self::Memfd),
            HUGETLBFS_MAGIC => Ok(Self::HugetlbMemfd),
            _ => Err(ExporterError::NotABuffer("a file of another file system")),
        }
    }

    /// The exporter of dma-bufs with this `exp_name`.
    pub fn from_name(name: &str) -> Self {
        match name {
            "udmabuf" => Self::Udmabuf,
            "system" => Self::SystemHeap,
            "drm" => Self::Drm,
            "i915" => Self::I915,
            name => Self::Other(name.to_owned()),
        }
    }

    /// Whether its fds are dma-bufs.
    pub fn is_dma_buf(&self) -> bool {
        !matches!(self, Self::Memfd | Self::HugetlbMemfd)
    }

    /// How an mmap of its fds is cached; `None` where that is not the same for all of them.
    pub fn mmap_caching(&self) -> Option<MapInfo> {
        match self {
            Self::Memfd | Self::HugetlbMemfd | Self::Udmabuf | Self::SystemHeap => {
                Some(MapInfo::Cached)
            }
            Self::Drm | Self::I915 | Self::Other(_) => None,
        }
    }
}

impl fmt::Display for Exporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memfd => "memfd",
            Self::HugetlbMemfd => "hugetlb memfd",
            Self::Udmabuf => "udmabuf",
            Self::SystemHeap => "system heap",
            Self::Drm => "drm",
            Self::I915 => "i915",
            Self::Other(name) => name,
        })
    }
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

/// Whether `fd` is a dma-buf.
///
/// # Errors
/// The error of fstatfs.
pub fn is_dma_buf(fd: impl AsFd) -> Result<bool, Errno> {
    Ok(file_system(fd.as_fd())? == DMA_BUF_MAGIC)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{MemfdFlags, Mode, OFlags};

    #[test]
    fn names_are_those_of_the_kernel() {
        let table = [
            ("udmabuf", Exporter::Udmabuf, "udmabuf"),
            ("system", Exporter::SystemHeap, "system heap"),
            ("drm", Exporter::Drm, "drm"),
            ("i915", Exporter::I915, "i915"),
            ("msm", Exporter::Other("msm".into()), "msm"),
            // A name is a name, even if it looks like none.
            ("memfd", Exporter::Other("memfd".into()), "memfd"),
        ];
        for (name, exporter, shown) in table {
            assert_eq!(Exporter::from_name(name), exporter);
            assert_eq!(exporter.to_string(), shown);
            assert!(exporter.is_dma_buf());
        }
        assert_eq!(Exporter::Memfd.to_string(), "memfd");
        assert_eq!(Exporter::HugetlbMemfd.to_string(), "hugetlb memfd");
        assert!(!Exporter::Memfd.is_dma_buf() && !Exporter::HugetlbMemfd.is_dma_buf());
    }

    #[test]
    fn memfd_is_no_dma_buf() {
        let fd = rustix::fs::memfd_create("x", MemfdFlags::empty()).unwrap();
        assert_eq!(Exporter::of(&fd).unwrap(), Exporter::Memfd);
        assert!(!is_dma_buf(&fd).unwrap());
    }

    #[test]
    fn memfd_of_huge_pages_is_one() {
        // No page is allocated, so none has to be there.
        let fd = match rustix::fs::memfd_create("x", MemfdFlags::HUGETLB) {
            Ok(fd) => fd,
            Err(error) => {
                println!("SKIPPED: a kernel without huge pages: {error}");
                return;
            }
        };
        assert_eq!(Exporter::of(&fd).unwrap(), Exporter::HugetlbMemfd);
    }

    #[test]
    fn files_that_are_no_buffers_have_no_exporter() {
        let open = |path| rustix::fs::open(path, OFlags::RDONLY, Mode::empty()).unwrap();
        let (socket, _peer) = std::os::unix::net::UnixStream::pair().unwrap();
        for fd in [
            open("/dev/null"),
            open("/proc/self/stat"),
            open("/"),
            socket.into(),
        ] {
            assert!(matches!(
                Exporter::of(fd),
                Err(ExporterError::NotABuffer(_))
            ));
        }
    }
}
