//! A mapped blob.

#![allow(unsafe_code, reason = "mmap and munmap")]

use std::ops::{Bound, RangeBounds};
use std::os::fd::AsFd;
use std::ptr::{self, NonNull};
use std::time::Duration;

use coherd_protocol::memory::Access;
use coherd_protocol::sync::wire::OpenFlags;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use crate::blob::Blob;
use crate::bracket::Bracket;
use crate::bytes::Bytes;
use crate::error::SyncError;
use crate::file;
use crate::guard::{ReadGuard, ReadWriteGuard, WriteGuard};

/// A mapping of a whole blob. Its bytes are reached through guards, each of them one bracket.
#[derive(Debug)]
pub struct Mapping {
    start: NonNull<u8>,
    len: usize,
    blob: Blob,
}

// SAFETY: the memory is mapped for every thread, and is only accessed through `Bytes`.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    pub(crate) fn new(blob: Blob) -> Result<Self, SyncError> {
        let info = blob.info();
        if !info.flags.contains(OpenFlags::MMAP) {
            return Err(SyncError::NotMappable(info.blob));
        }
        let len = file::check(blob.as_fd(), info.data_offset, info.size)?;
        let mut protection = ProtFlags::READ;
        if info.access.contains(Access::WRITE) {
            protection |= ProtFlags::WRITE;
        }
        // SAFETY: a new mapping at an address of the kernel's choice touches no other memory.
        let start = unsafe {
            mmap(
                ptr::null_mut(),
                len,
                protection,
                MapFlags::SHARED,
                &blob,
                info.data_offset,
            )
        };
        let map_error = |source| SyncError::Map {
            blob: info.blob,
            source,
        };
        let start = start.map_err(map_error)?;
        let start = NonNull::new(start.cast()).ok_or(SyncError::NotMappable(info.blob))?;
        Ok(Self { start, len, blob })
    }

    /// The blob.
    #[must_use]
    pub fn blob(&self) -> &Blob {
        &self.blob
    }

    /// Its bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has none, which no blob is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Begins to read the bytes of `range`. Waits for the GPU as long as the server usually does.
    ///
    /// # Errors
    /// See [`SyncError`]; [`SyncError::is_timed_out`] if the GPU did not finish in time.
    pub fn read(&self, range: impl RangeBounds<usize>) -> Result<ReadGuard<'_>, SyncError> {
        self.begin(Access::READ, range, None).map(ReadGuard::new)
    }

    /// Begins to write the bytes of `range`, all of them: those that are not written may have any
    /// value afterwards. Waits for the GPU as long as the server usually does.
    ///
    /// # Errors
    /// As [`Mapping::read`], and [`SyncError::ReadOnly`] for a blob that was not opened to be
    /// written.
    pub fn write(&self, range: impl RangeBounds<usize>) -> Result<WriteGuard<'_>, SyncError> {
        self.begin(Access::WRITE, range, None).map(WriteGuard::new)
    }

    /// Begins to read and write the bytes of `range`. Waits for the GPU as long as the server
    /// usually does.
    ///
    /// # Errors
    /// As [`Mapping::write`].
    pub fn read_write(
        &self,
        range: impl RangeBounds<usize>,
    ) -> Result<ReadWriteGuard<'_>, SyncError> {
        self.begin(Access::READ | Access::WRITE, range, None)
            .map(ReadWriteGuard::new)
    }

    /// As [`Mapping::read`], but waits for the GPU at most so long.
    ///
    /// # Errors
    /// As [`Mapping::read`].
    pub fn read_within(
        &self,
        range: impl RangeBounds<usize>,
        timeout: Duration,
    ) -> Result<ReadGuard<'_>, SyncError> {
        self.begin(Access::READ, range, Some(timeout))
            .map(ReadGuard::new)
    }

    /// As [`Mapping::write`], but waits for the GPU at most so long.
    ///
    /// # Errors
    /// As [`Mapping::write`].
    pub fn write_within(
        &self,
        range: impl RangeBounds<usize>,
        timeout: Duration,
    ) -> Result<WriteGuard<'_>, SyncError> {
        self.begin(Access::WRITE, range, Some(timeout))
            .map(WriteGuard::new)
    }

    /// As [`Mapping::read_write`], but waits for the GPU at most so long.
    ///
    /// # Errors
    /// As [`Mapping::write`].
    pub fn read_write_within(
        &self,
        range: impl RangeBounds<usize>,
        timeout: Duration,
    ) -> Result<ReadWriteGuard<'_>, SyncError> {
        self.begin(Access::READ | Access::WRITE, range, Some(timeout))
            .map(ReadWriteGuard::new)
    }

    pub(crate) fn begin(
        &self,
        access: Access,
        range: impl RangeBounds<usize>,
        timeout: Option<Duration>,
    ) -> Result<Bracket<'_>, SyncError> {
        let info = self.blob.info();
        // The mapping has no more: a bracket with WRITE would end in a SIGSEGV.
        if access.contains(Access::WRITE) && !info.access.contains(Access::WRITE) {
            return Err(SyncError::ReadOnly(info.blob));
        }
        let (offset, len) = resolve(range, self.len).ok_or(SyncError::Empty)?;
        let bytes = self.bytes().part(offset, len)?;
        Bracket::begin(&self.blob, bytes, offset, access, timeout)
    }

    fn bytes(&self) -> Bytes<'_> {
        // SAFETY: they are mapped as long as `self` lives, Rust knows nothing of them, and
        // `begin` lets nobody write who may not.
        unsafe { Bytes::new(self.start, self.len) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: guards borrow the mapping, so that nobody has an address inside any more.
        let unmapped = unsafe { munmap(self.start.as_ptr().cast(), self.len) };
        debug_assert!(unmapped.is_ok(), "munmap of a mapping of ours");
    }
}

/// Offset and length of a range, or `None` if there is nothing in it, which would be the rest of
/// the blob to the server.
fn resolve(range: impl RangeBounds<usize>, len: usize) -> Option<(usize, usize)> {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => len,
    };
    let len = end.checked_sub(start)?;
    (len > 0).then_some((start, len))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_resolved_as_those_of_slices() {
        assert_eq!(resolve(.., 10), Some((0, 10)));
        assert_eq!(resolve(3.., 10), Some((3, 7)));
        assert_eq!(resolve(3..5, 10), Some((3, 2)));
        assert_eq!(resolve(..=5, 10), Some((0, 6)));
        assert_eq!(resolve(3..50, 10), Some((3, 47)));
    }

    #[test]
    fn ranges_with_nothing_in_them_are_none() {
        let from_three = (Bound::Excluded(2), Bound::Excluded(3));
        assert_eq!(resolve(from_three, 10), None);
        assert_eq!(resolve(3..3, 10), None);
        assert_eq!(resolve(10.., 10), None);
        assert_eq!(resolve(11.., 10), None);
    }
}
