//! The guest's host-visible window: a shared memory region with files mapped into it.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use rustix::fs::{OFlags, SeekFrom, fcntl_getfl, seek};
use rustix::mm::{MapFlags, ProtFlags};
use vm_memory::{FileOffset, MmapRegion, VolatileMemory, VolatileSlice};

use super::lock;
use super::memory::TableRegion;
use super::request::MapRequest;
use super::window_error::WindowError;

/// Where the window lies in guest-physical memory, above any RAM.
pub const WINDOW_GPA: u64 = 1 << 38;

#[derive(Debug)]
struct Mapping {
    request: MapRequest,
    memory: MmapRegion,
    file: Arc<File>,
    writable: bool,
    committed: bool,
}

/// The window, as large as the backend wants it.
#[derive(Debug)]
pub struct Window {
    size: u64,
    shmid: u8,
    mappings: Mutex<BTreeMap<u64, Mapping>>,
    early: AtomicU64,
}

impl Window {
    pub(super) fn new(shmid: u8, size: u64) -> Self {
        Self {
            size,
            shmid,
            mappings: Mutex::default(),
            early: AtomicU64::new(0),
        }
    }

    /// Bytes of the window.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The id of the shared memory region, 1 for a GPU.
    pub fn shmid(&self) -> u8 {
        self.shmid
    }

    /// Live mappings, by offset, as they were requested.
    pub fn mappings(&self) -> Vec<MapRequest> {
        lock(&self.mappings)
            .values()
            .map(|mapping| mapping.request)
            .collect()
    }

    /// Accesses the guest lost because a mapping was not visible yet.
    pub fn early_accesses(&self) -> u64 {
        self.early.load(Ordering::SeqCst)
    }

    /// Mappings the backend was answered about and the guest does not see yet.
    pub fn uncommitted(&self) -> usize {
        lock(&self.mappings)
            .values()
            .filter(|mapping| !mapping.committed)
            .count()
    }

    /// The guest reads from one mapping.
    ///
    /// # Errors
    /// See [`WindowError`].
    pub fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), WindowError> {
        let len = out.len();
        self.access(offset, len, false, |slice| {
            slice.copy_to(out);
        })
    }

    /// The guest reads `len` bytes from one mapping.
    ///
    /// # Errors
    /// See [`WindowError`].
    pub fn read_vec(&self, offset: u64, len: usize) -> Result<Vec<u8>, WindowError> {
        let mut bytes = vec![0; len];
        self.read(offset, &mut bytes)?;
        Ok(bytes)
    }

    /// The guest writes to one mapping.
    ///
    /// # Errors
    /// See [`WindowError`].
    pub fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), WindowError> {
        self.access(offset, bytes.len(), true, |slice| {
            slice.copy_from(bytes);
        })
    }

    fn access(
        &self,
        offset: u64,
        len: usize,
        write: bool,
        copy: impl FnOnce(VolatileSlice<'_>),
    ) -> Result<(), WindowError> {
        let nothing = || WindowError::NotMapped {
            offset,
            len: len as u64,
        };
        let mappings = lock(&self.mappings);
        let (start, mapping) = mappings.range(..=offset).next_back().ok_or_else(nothing)?;
        let within = usize::try_from(offset - start).map_err(|_| nothing())?;
        let end = within.checked_add(len).ok_or_else(nothing)?;
        if end > mapping.memory.size() {
            return Err(nothing());
        }
        if !mapping.committed {
            self.early.fetch_add(1, Ordering::SeqCst);
            return Err(WindowError::NotCommitted(*start));
        }
        if write && !mapping.writable {
            return Err(WindowError::ReadOnly(*start));
        }
        copy(mapping.memory.get_slice(within, len)?);
        Ok(())
    }

    /// Checks that a request stays inside the window.
    pub(super) fn check_bounds(&self, request: &MapRequest) -> Result<(), WindowError> {
        let (offset, len) = (request.shm_offset, request.len);
        if len == 0 {
            return Err(WindowError::Empty);
        }
        match offset.checked_add(len) {
            Some(end) if end <= self.size => Ok(()),
            _ => Err(WindowError::Outside { offset, len }),
        }
    }

    /// Maps a file; the guest sees nothing before [`Self::commit`].
    pub(super) fn map(
        &self,
        request: MapRequest,
        fd: OwnedFd,
        writable: bool,
    ) -> Result<(), WindowError> {
        self.check_bounds(&request)?;
        let (offset, len) = (request.shm_offset, request.len);
        let mut mappings = lock(&self.mappings);
        let below = mappings.range(..offset + len).next_back();
        if below.is_some_and(|(start, other)| start + other.request.len > offset) {
            return Err(WindowError::Overlap { offset, len });
        }
        let size = seek(&fd, SeekFrom::End(0))?;
        if request
            .fd_offset
            .checked_add(len)
            .is_none_or(|end| end > size)
        {
            return Err(WindowError::FileSize(size));
        }
        let mut protection = ProtFlags::READ;
        protection.set(ProtFlags::WRITE, writable);
        let file = Arc::new(File::from(fd));
        let memory = MmapRegion::build(
            Some(FileOffset::from_arc(Arc::clone(&file), request.fd_offset)),
            usize::try_from(len).map_err(|_| WindowError::Outside { offset, len })?,
            protection.bits().cast_signed(),
            MapFlags::SHARED.bits().cast_signed(),
        )?;
        let mapping = Mapping {
            request,
            memory,
            file,
            writable,
            committed: false,
        };
        mappings.insert(offset, mapping);
        Ok(())
    }

    /// Shows a mapping to the guest.
    pub(super) fn commit(&self, offset: u64) {
        if let Some(mapping) = lock(&self.mappings).get_mut(&offset) {
            mapping.committed = true;
        }
    }

    /// Removes the mapping at `offset`, which must have `len` bytes where that is told.
    pub(super) fn unmap(&self, offset: u64, len: Option<u64>) -> Result<MapRequest, WindowError> {
        let mut mappings = lock(&self.mappings);
        let found = mappings
            .get(&offset)
            .is_some_and(|mapping| len.is_none_or(|len| mapping.request.len == len));
        found
            .then(|| mappings.remove(&offset))
            .flatten()
            .map(|mapping| mapping.request)
            .ok_or(WindowError::NoSuchMapping {
                offset,
                len: len.unwrap_or(0),
            })
    }

    /// Removes every mapping and returns how many there were.
    pub(super) fn clear(&self) -> usize {
        let mut mappings = lock(&self.mappings);
        let count = mappings.len();
        mappings.clear();
        count
    }

    /// The mappings as regions of a memory table.
    pub(super) fn table(&self) -> Vec<TableRegion> {
        lock(&self.mappings)
            .values()
            .map(|mapping| TableRegion {
                gpa: WINDOW_GPA + mapping.request.shm_offset,
                size: mapping.request.len,
                user_addr: mapping.memory.as_ptr().addr() as u64,
                mmap_offset: mapping.request.fd_offset,
                file: Arc::clone(&mapping.file),
            })
            .collect()
    }
}

/// Fails unless `fd` is open for reading and writing.
pub(super) fn check_read_write(fd: &OwnedFd) -> Result<(), WindowError> {
    let mode = fcntl_getfl(fd).map_err(|_| WindowError::Access)? & OFlags::RWMODE;
    if mode == OFlags::RDWR {
        Ok(())
    } else {
        Err(WindowError::Access)
    }
}
