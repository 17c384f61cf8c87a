//! A blob in the address space of this process.

use std::io;
use std::ops::{Bound, Range, RangeBounds};
use std::sync::Arc;

use thiserror::Error;

use crate::access::{Bytes, RangeError, SharedMap};
use crate::allocation::Allocation;
use crate::blob::Blob;
use crate::guard::{AccessError, Bracket, Guard, Kind, ReadGuard, ReadWriteGuard, WriteGuard};
use crate::memory::{Access, Caching, Memory};

/// Why a blob is not mapped.
#[derive(Debug, Error)]
pub enum MapError {
    /// Its memory type cannot be mapped.
    #[error("memory type {0} cannot be mapped; require HOST_VISIBLE to get one that can")]
    NotMappable(u32),
    /// The kernel or the host refused.
    #[error("cannot map {len} bytes{}", map_hint(source))]
    Kernel {
        /// The length of the blob.
        len: usize,
        /// Why not.
        source: io::Error,
    },
}

fn map_hint(error: &io::Error) -> &'static str {
    match error.kind() {
        // The kernel's word for an error response to MAP_BLOB.
        io::ErrorKind::InvalidInput => "; the host did not map them into the VM, its log says why",
        _ => "",
    }
}

/// A mapped allocation.
///
/// What it holds is reached through guards. If the memory type asks for it, a guard is a bracket:
/// the host makes what the GPU wrote visible when it is opened for reading, and what this process
/// wrote visible to the GPU when it is ended after writing. Guards of other memory cost nothing.
/// Either way the host's processor and the GPU work at the same time unless the program waits, see
/// [`Submission::wait`](crate::Submission::wait).
#[derive(Debug)]
pub struct Mapping {
    map: SharedMap,
    blob: Arc<Blob>,
}

impl Allocation {
    /// Maps all of it, with the type that the host says.
    ///
    /// # Errors
    /// [`MapError`]
    pub fn map(&self) -> Result<Mapping, MapError> {
        let blob = Arc::clone(&self.blob);
        if blob.memory.caching.is_none() {
            return Err(MapError::NotMappable(blob.memory.type_index));
        }
        let len = blob.len();
        // Linux before 7.0 maps whole blobs only.
        match blob.shared.transport.map(blob.handle.handle, len) {
            Ok(map) => Ok(Mapping { map, blob }),
            Err(source) => Err(MapError::Kernel { len, source }),
        }
    }
}

impl Mapping {
    /// Its length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Whether it has no bytes; never, because nothing cannot be allocated.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What memory it is.
    #[must_use]
    pub fn memory(&self) -> &Memory {
        &self.blob.memory
    }

    /// Begins to read a range. What the GPU had written to it when this returns can be read.
    ///
    /// # Errors
    /// [`AccessError`]
    pub fn read(&self, range: impl RangeBounds<usize>) -> Result<ReadGuard<'_>, AccessError> {
        self.begin(range)
    }

    /// Begins to write a range. The GPU sees what was written once the guard has ended. Where
    /// brackets are needed, bytes of the range that are not written, and their neighbours up to
    /// [`Host::atom_size`](crate::Host::atom_size), may become what this process saw there last;
    /// [`Self::read_write`] keeps what the GPU wrote.
    ///
    /// # Errors
    /// [`AccessError`]
    pub fn write(&self, range: impl RangeBounds<usize>) -> Result<WriteGuard<'_>, AccessError> {
        self.begin(range)
    }

    /// Begins to read and write a range.
    ///
    /// # Errors
    /// [`AccessError`]
    pub fn read_write(
        &self,
        range: impl RangeBounds<usize>,
    ) -> Result<ReadWriteGuard<'_>, AccessError> {
        self.begin(range)
    }

    /// All of it, with no bracket whatever the memory type. Where the type needs brackets, what is
    /// read may be stale, and what is written may never reach the GPU: to measure, and for programs
    /// that see to it by other means.
    #[must_use]
    pub fn without_sync(&self) -> Bytes<'_> {
        match self.blob.memory.caching {
            Some(Caching::WriteCombining) => self.map.bytes().streaming(),
            _ => self.map.bytes(),
        }
    }

    /// Begins an access without a guard, for programs that use the addresses of
    /// [`Self::without_sync`]. `None` if the memory needs no bracket.
    ///
    /// # Errors
    /// [`AccessError`]
    pub fn bracket(
        &self,
        range: impl RangeBounds<usize>,
        access: Access,
    ) -> Result<Option<Bracket>, AccessError> {
        Bracket::begin(&self.blob, self.resolve(&range)?, access)
    }

    fn begin<A: Kind>(&self, range: impl RangeBounds<usize>) -> Result<Guard<'_, A>, AccessError> {
        let range = self.resolve(&range)?;
        let bytes = self.without_sync().part(range.clone())?;
        Guard::begin(&self.blob, bytes, range)
    }

    /// A range with its bounds, if it is inside.
    fn resolve(&self, range: &impl RangeBounds<usize>) -> Result<Range<usize>, RangeError> {
        let outside = |offset| RangeError {
            offset,
            len: 0,
            available: self.len(),
        };
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(before) => before.checked_add(1).ok_or(outside(*before))?,
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(last) => last.checked_add(1).ok_or(outside(*last))?,
            Bound::Excluded(end) => *end,
            Bound::Unbounded => self.len(),
        };
        if start > end || end > self.len() {
            return Err(RangeError {
                offset: start,
                len: end.saturating_sub(start),
                available: self.len(),
            });
        }
        Ok(start..end)
    }
}
