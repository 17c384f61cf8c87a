//! Memory as the CPU sees it.

use crate::memory::AccessError;

/// The bytes of a mapping. GPU, guest and other processes change them at any time, so there is no
/// reference to them, only copies in and out.
#[derive(Debug)]
pub struct MappedBytes {
    start: *mut u8,
    len: usize,
}

// SAFETY: the pointer is only used for copies that tolerate races.
unsafe impl Send for MappedBytes {}
// SAFETY: as above.
unsafe impl Sync for MappedBytes {}

impl MappedBytes {
    /// Where the mapping starts. It lives as long as the allocation.
    pub fn as_ptr(&self) -> *mut u8 {
        self.start
    }

    /// Bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Copies bytes at `offset` to `target`.
    ///
    /// # Errors
    /// [`AccessError::OutOfRange`].
    pub fn read(&self, offset: u64, target: &mut [u8]) -> Result<(), AccessError> {
        let _ = (offset, target);
        Err(AccessError::NotHostVisible)
    }

    /// Copies `source` to the bytes at `offset`.
    ///
    /// # Errors
    /// [`AccessError::OutOfRange`].
    pub fn write(&self, offset: u64, source: &[u8]) -> Result<(), AccessError> {
        let _ = (offset, source);
        Err(AccessError::NotHostVisible)
    }
}
