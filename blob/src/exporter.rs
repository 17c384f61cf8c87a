//! Who exports an fd, and how an mmap of it is cached.
//!
//! No kernel interface reports the caching of an mmap. It follows from the exporter, and where
//! that name stands for several drivers, from the memory type that the allocator gave.

use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use coherd_protocol::memory::MemoryProperties;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use thiserror::Error;

use crate::memory_type::MapInfo;

/// `f_type` of a dma-buf, `DMA_BUF_MAGIC` in `linux/magic.h`.
const DMA_BUF_MAGIC: u64 = 0x444d_4142;
/// `f_type` of tmpfs and memfds, `TMPFS_MAGIC`.
const TMPFS_MAGIC: u64 = 0x0102_1994;
/// `f_type` of huge page memfds, `HUGETLBFS_MAGIC`.
const HUGETLBFS_MAGIC: u64 = 0x9584_58f6;

/// More than a dma-buf's fdinfo has; its user-given name has 31 bytes at most.
const FDINFO_MAX: usize = 4096;

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
    Fdinfo(#[source] Errno),
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

/// What the allocator of memory says about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allocated {
    /// Properties of the Vulkan memory type.
    pub properties: MemoryProperties,
    /// Whether the GPU shares the CPU's memory (VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU);
    /// `None` if nobody knows.
    pub integrated: Option<bool>,
}

/// What lies behind the pages of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Location {
    /// Memory the kernel manages as RAM, however it is typed.
    Ram,
    /// A BAR of a device, video memory for one.
    Device,
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
            let fdinfo = read_fdinfo(fd).map_err(ExporterError::Fdinfo)?;
            return exporter_name(&fdinfo)
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

/// How an mmap of an fd is cached, from its exporter and what its allocator says; `None` if the
/// two do not decide it.
///
/// | exporter | allocator | mmap |
/// |---|---|---|
/// | memfd, udmabuf, system heap | any | cached |
/// | i915 | integrated GPU | cached, even where vkMapMemory is write-combining |
/// | drm, i915 | HOST_VISIBLE with CACHED | cached |
/// | drm | HOST_VISIBLE, not CACHED | write-combining |
/// | i915 | HOST_VISIBLE and DEVICE_LOCAL, not CACHED, discrete GPU | write-combining |
/// | any other combination | | unknown |
///
/// A dma-buf of amdgpu or xe may move from video memory to RAM at a START with READ; this is what
/// it maps like where it was allocated.
pub fn fd_caching(exporter: &Exporter, allocator: Option<Allocated>) -> Option<MapInfo> {
    if let Some(caching) = exporter.mmap_caching() {
        return Some(caching);
    }
    let Allocated {
        properties,
        integrated,
    } = allocator?;
    if *exporter == Exporter::I915 && integrated == Some(true) {
        return Some(MapInfo::Cached);
    }
    let discrete_local =
        properties.contains(MemoryProperties::DEVICE_LOCAL) && integrated == Some(false);
    match exporter {
        _ if !properties.contains(MemoryProperties::HOST_VISIBLE) => None,
        Exporter::Drm | Exporter::I915 if properties.contains(MemoryProperties::HOST_CACHED) => {
            Some(MapInfo::Cached)
        }
        Exporter::Drm => Some(MapInfo::WriteCombining),
        Exporter::I915 if discrete_local => Some(MapInfo::WriteCombining),
        _ => None,
    }
}

impl Location {
    /// What lies behind an fd, or `None` if its exporter and allocator do not decide it.
    ///
    /// | exporter | allocator | location |
    /// |---|---|---|
    /// | memfd, udmabuf, system heap | any | RAM |
    /// | i915 | integrated GPU | RAM |
    /// | drm, i915 | discrete GPU, not DEVICE_LOCAL | RAM |
    /// | drm, i915 | discrete GPU, DEVICE_LOCAL, not CACHED | device |
    /// | drm | integrated GPU, CACHED | RAM |
    /// | any other combination, such as an APU's carve-out | | unknown |
    pub fn of(exporter: &Exporter, allocator: Option<Allocated>) -> Option<Self> {
        match exporter {
            Exporter::Memfd | Exporter::HugetlbMemfd | Exporter::Udmabuf | Exporter::SystemHeap => {
                return Some(Self::Ram);
            }
            Exporter::Other(_) => return None,
            Exporter::Drm | Exporter::I915 => {}
        }
        let Allocated {
            properties,
            integrated,
        } = allocator?;
        let local = properties.contains(MemoryProperties::DEVICE_LOCAL);
        let cached = properties.contains(MemoryProperties::HOST_CACHED);
        match integrated? {
            true if *exporter == Exporter::I915 || cached => Some(Self::Ram),
            false if !local => Some(Self::Ram),
            false if !cached => Some(Self::Device),
            _ => None,
        }
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

fn read_fdinfo(fd: BorrowedFd<'_>) -> Result<String, Errno> {
    let path = format!("/proc/self/fdinfo/{}", fd.as_raw_fd());
    let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut text = vec![0; FDINFO_MAX];
    let mut len = 0;
    while let Some(rest) = text.get_mut(len..).filter(|rest| !rest.is_empty()) {
        match rustix::io::retry_on_intr(|| rustix::io::read(&file, &mut *rest))? {
            0 => break,
            read => len += read,
        }
    }
    text.truncate(len);
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// The exporter's name in the fdinfo of a dma-buf. It is the first line of its kind: a name that
/// somebody gave the buffer comes later and may contain line breaks.
fn exporter_name(fdinfo: &str) -> Option<&str> {
    fdinfo
        .lines()
        .find_map(|line| line.strip_prefix("exp_name:"))
        .map(str::trim)
        .filter(|name| !name.is_empty())
}
