//! The files behind blobs, good and bad.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;

use coherd::coherence::BlobRecord;
use coherd::mapping_type::MappingType;
use coherd::renderer::{Export, ExportedFile};
use coherd_blob::backing::ExportKind;
use coherd_blob::{Backing, MapInfo};
use rustix::fs::{MemfdFlags, Mode, OFlags, fstat, ftruncate, memfd_create, open};
use rustix::io::{Errno, fcntl_dupfd_cloexec, pread, pwrite};

/// Where llvmpipe puts the data of an opaque fd.
const OPAQUE_OFFSET: u64 = 4096;

/// All the memory "the GPU" has for one blob, in bytes.
const LARGEST: u64 = 64 << 20;

/// What kind of file is behind a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// Shared memory.
    Shm,
    /// A memfd in the place of a dma-buf, as a stand-in for udmabuf exports it.
    DmaBuf,
    /// An opaque fd of llvmpipe, with a header page before the data.
    Opaque,
    /// Shared memory that ends a page before the blob does.
    Short,
    /// Shared memory that cannot be sealed against shrinking.
    Shrinkable,
    /// Shared memory that is open for reading only.
    ReadOnly,
    /// No file: the blob cannot be exported.
    Private,
}

const KINDS: [FileKind; 7] = [
    FileKind::Shm,
    FileKind::DmaBuf,
    FileKind::Opaque,
    FileKind::Short,
    FileKind::Shrinkable,
    FileKind::ReadOnly,
    FileKind::Private,
];

/// How a blob is made; its `blob_id` says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recipe {
    /// What is behind the blob.
    pub file: FileKind,
    /// The `map_info` that the renderer reports, any bits.
    pub map_info: u32,
    /// Whether the renderer knows that, rather than guesses it.
    pub known: bool,
}

/// The bit of `blob_id` for [`Recipe::known`].
const KNOWN: u64 = 0x80;

impl Recipe {
    /// A cached blob of shared memory.
    pub const SHM: Self = Self {
        file: FileKind::Shm,
        map_info: 1,
        known: false,
    };

    /// A cached blob of each kind.
    pub const ALL: [Self; KINDS.len()] = {
        let mut all = [Self::SHM; KINDS.len()];
        let mut index = 0;
        while index < all.len() {
            all[index].file = KINDS[index];
            index += 1;
        }
        all
    };

    /// A cached blob.
    pub fn new(file: FileKind) -> Self {
        Self { file, ..Self::SHM }
    }

    /// The number the guest gives to RESOURCE_CREATE_BLOB.
    pub fn blob_id(self) -> u64 {
        let known = if self.known { KNOWN } else { 0 };
        u64::from(self.map_info) << 8 | known | self.file as u64
    }

    pub(super) fn from_blob_id(blob_id: u64) -> Option<Self> {
        let kind = usize::try_from(blob_id & 0xff & !KNOWN).ok()?;
        Some(Self {
            file: *KINDS.get(kind)?,
            map_info: u32::try_from(blob_id >> 8).ok()?,
            known: blob_id & KNOWN != 0,
        })
    }

    fn export(self, fd: OwnedFd, kind: ExportKind, size: u64) -> Option<Export> {
        if !self.known {
            return Some(Export::File(ExportedFile {
                fd,
                kind,
                map_info: self.map_info,
            }));
        }
        let types = MapInfo::from_renderer(self.map_info).map(|told| MappingType {
            told,
            coherent: true,
            file: Some(MapInfo::Cached),
            effective: None,
        });
        let backing = Backing::new(fd, kind, size).ok()?;
        let record = BlobRecord::new(backing, types, None);
        Some(Export::Record(Arc::new(record)))
    }

    /// The memory, and what the daemon gets of it.
    pub(super) fn make(self, size: u64) -> Result<(Memory, Option<Export>), Errno> {
        if size > LARGEST {
            return Err(Errno::NOMEM);
        }
        let (name, offset) = match self.file {
            FileKind::Opaque => ("llvmpipe memory fd", OPAQUE_OFFSET),
            _ => ("blob", 0),
        };
        let flags = match self.file {
            FileKind::Shrinkable => MemfdFlags::CLOEXEC,
            _ => MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING,
        };
        let fd = memfd_create(name, flags)?;
        let len = match self.file {
            FileKind::Short => size - 4096,
            _ => offset + size,
        };
        ftruncate(&fd, len)?;
        if self.file == FileKind::Opaque {
            let header = [len.to_le_bytes(), offset.to_le_bytes()].concat();
            pwrite(&fd, &header, 0)?;
        }
        let kind = match self.file {
            FileKind::DmaBuf => ExportKind::DmaBuf,
            FileKind::Opaque => ExportKind::Opaque,
            _ => ExportKind::Shm,
        };
        let exported = match self.file {
            FileKind::Private => None,
            FileKind::ReadOnly => Some(read_only(&fd)?),
            _ => Some(fcntl_dupfd_cloexec(&fd, 0)?),
        };
        let export = exported.and_then(|fd| self.export(fd, kind, size));
        Ok((Memory { fd, offset, size }, export))
    }
}

fn read_only(fd: &OwnedFd) -> Result<OwnedFd, Errno> {
    let path = format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd());
    open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}

/// Memory of a blob as the renderer sees it.
#[derive(Debug)]
pub(super) struct Memory {
    fd: OwnedFd,
    offset: u64,
    pub(super) size: u64,
}

impl Memory {
    /// Number of the file.
    pub(super) fn inode(&self) -> Option<u64> {
        fstat(&self.fd).ok().map(|stat| stat.st_ino)
    }

    /// Reads to the end of `out`; `false` where the memory ends before that.
    pub(super) fn read(&self, offset: u64, out: &mut [u8]) -> bool {
        pread(&self.fd, &mut *out, self.offset + offset).is_ok_and(|count| count == out.len())
    }

    /// Writes all of `bytes`, or returns `false`.
    pub(super) fn write(&self, offset: u64, bytes: &[u8]) -> bool {
        pwrite(&self.fd, bytes, self.offset + offset).is_ok_and(|count| count == bytes.len())
    }
}
