//! Blobs of the server.

use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use coherd_protocol::blob_context::reply::{BackingKind, Memory, MemoryFlags};
use coherd_protocol::memory::{Access, MemoryProperties};
use coherd_protocol::sync::text;
use coherd_protocol::sync::wire::{Entry, EntryFlags, OpenFlags, Opened};
use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags};
use zerocopy::FromZeros;

/// Bytes of a file before its blob.
pub const HEADER: u64 = 4096;

/// How to make a blob.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// Its bytes.
    pub size: u64,
    /// The GPU never finishes with it.
    pub hung: bool,
    /// An mmap of its file works.
    pub mmap: bool,
    /// OPEN works.
    pub openable: bool,
    /// Its file is sealed against shrinking.
    pub sealed: bool,
    /// What its image is, as planes' sizes; none for a buffer.
    pub planes: u32,
}

impl Default for Recipe {
    fn default() -> Self {
        Self {
            size: 3 * 4096,
            hung: false,
            mmap: true,
            openable: true,
            sealed: true,
            planes: 0,
        }
    }
}

/// Bytes that differ from blob to blob and from place to place.
pub fn contents(seed: u64, size: u64) -> Vec<u8> {
    (0..size)
        .map(|place| {
            let word = (place + 1).wrapping_mul(seed.wrapping_mul(2).wrapping_add(0x9e37_79b9));
            (word >> 7).to_le_bytes()[0]
        })
        .collect()
}

/// A blob.
#[derive(Debug)]
pub struct Blob {
    pub recipe: Recipe,
    pub resource_id: u32,
    /// What the peer gets.
    cpu: OwnedFd,
    /// What the GPU sees.
    pub gpu: Vec<u8>,
    pub gone: bool,
}

impl Blob {
    pub fn new(id: u64, resource_id: u32, recipe: Recipe) -> Self {
        let cpu = rustix::fs::memfd_create("blob", MemfdFlags::ALLOW_SEALING).unwrap();
        rustix::fs::ftruncate(&cpu, HEADER + recipe.size).unwrap();
        if recipe.sealed {
            rustix::fs::fcntl_add_seals(&cpu, SealFlags::SHRINK).unwrap();
        }
        let stale = vec![0xee; usize::try_from(HEADER + recipe.size).unwrap()];
        rustix::io::pwrite(&cpu, &stale, 0).unwrap();
        let gpu = contents(id, recipe.size);
        Self {
            recipe,
            resource_id,
            cpu,
            gpu,
            gone: false,
        }
    }

    /// What LIST says.
    pub fn entry(&self, id: u64, writable: bool) -> Entry {
        let mut flags = EntryFlags::NEEDS_BRACKETS;
        flags.set(EntryFlags::OPENABLE, self.recipe.openable);
        flags.set(EntryFlags::WRITABLE, self.recipe.openable && writable);
        flags.set(EntryFlags::IMAGE, self.recipe.planes > 0);
        Entry {
            blob: id.into(),
            size: self.recipe.size.into(),
            resource_id: self.resource_id.into(),
            generation: 1.into(),
            context_id: 2.into(),
            flags: flags.bits().into(),
        }
    }

    /// What memory it is.
    pub fn memory(&self) -> Memory {
        let properties = MemoryProperties::HOST_VISIBLE | MemoryProperties::HOST_CACHED;
        let flags = MemoryFlags::MAPPABLE | MemoryFlags::NEEDS_SYNC | MemoryFlags::FD_KNOWN;
        Memory {
            size: self.recipe.size.into(),
            properties: properties.bits().into(),
            flags: flags.bits().into(),
            map_info: 3.into(),
            fd_map_info: 1.into(),
            effective_map_info: 2.into(),
            backing: (BackingKind::MemfdWithHeader as u32).into(),
            ..Memory::new_zeroed()
        }
    }

    /// What OPEN says.
    pub fn opened(&self, id: u64, access: Access) -> Opened {
        let mut flags = OpenFlags::NEEDS_BRACKETS;
        flags.set(OpenFlags::MMAP, self.recipe.mmap);
        flags.set(OpenFlags::IMAGE, self.recipe.planes > 0);
        let mut opened = Opened {
            blob: id.into(),
            data_offset: HEADER.into(),
            page_size: 4096.into(),
            memory: self.memory(),
            access: access.bits().into(),
            fd_access: access.bits().into(),
            flags: flags.bits().into(),
            resource_id: self.resource_id.into(),
            generation: 1.into(),
            context_id: 2.into(),
            exporter: text::encode("memfd"),
            fourcc: 0x3432_5258.into(),
            width: 32.into(),
            height: 16.into(),
            ..Opened::new_zeroed()
        };
        opened.layout.modifier = 5.into();
        opened.layout.plane_count = self.recipe.planes.into();
        for (place, plane) in (0..).zip(&mut opened.layout.planes) {
            plane.offset = (4096 * place).into();
            plane.pitch = 128.into();
            plane.size = 2048.into();
        }
        opened
    }

    /// A file for a peer, which it can only write if `access` says so.
    pub fn file(&self, access: Access) -> OwnedFd {
        if access.contains(Access::WRITE) {
            return self.cpu.try_clone().unwrap();
        }
        let path = format!("/proc/self/fd/{}", self.cpu.as_raw_fd());
        rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).unwrap()
    }

    /// Makes the CPU see what the GPU wrote.
    pub fn invalidate(&self, range: &Range<usize>) {
        let offset = HEADER + u64::try_from(range.start).unwrap();
        rustix::io::pwrite(self.cpu.as_fd(), &self.gpu[range.clone()], offset).unwrap();
    }

    /// Makes the GPU see what the CPU wrote.
    pub fn flush(&mut self, range: &Range<usize>) {
        let offset = HEADER + u64::try_from(range.start).unwrap();
        let read = rustix::io::pread(&self.cpu, &mut self.gpu[range.clone()], offset).unwrap();
        assert_eq!(read, range.len());
    }
}
