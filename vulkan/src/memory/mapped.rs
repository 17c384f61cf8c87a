//! Memory as the CPU sees it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::memory::{AccessError, range};

/// Counts bytes that this process copied in or out of mapped memory.
#[derive(Clone, Debug, Default)]
pub struct Copied(Arc<AtomicU64>);

impl Copied {
    /// Bytes so far.
    pub fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// The bytes of a mapping. GPU, guest and other processes change them at any time, so there is no
/// reference to them, only copies in and out.
#[derive(Debug)]
pub struct MappedBytes {
    start: *mut u8,
    len: usize,
    copied: Copied,
}

// SAFETY: whoever has the pointer copies through it, from any thread; races are between bytes
// that no reference points to.
unsafe impl Send for MappedBytes {}
// SAFETY: as above.
unsafe impl Sync for MappedBytes {}

impl MappedBytes {
    /// The `len` bytes at `start`; `copied` counts those that are copied.
    ///
    /// # Safety
    /// The bytes stay mapped, readable and writable for the life of the value, and no reference
    /// points to them.
    pub(crate) unsafe fn new(start: *mut u8, len: usize, copied: Copied) -> Self {
        Self { start, len, copied }
    }

    /// Where the mapping starts. It is there as long as the allocation.
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
        let source = self.at(offset, target.len())?;
        // SAFETY: `at` checked that as many bytes are mapped; `target` is memory of Rust, which
        // the mapping is not.
        unsafe { source.copy_to_nonoverlapping(target.as_mut_ptr(), target.len()) };
        self.copied.add(target.len());
        Ok(())
    }

    /// Copies `source` to the bytes at `offset`.
    ///
    /// # Errors
    /// [`AccessError::OutOfRange`].
    pub fn write(&self, offset: u64, source: &[u8]) -> Result<(), AccessError> {
        let target = self.at(offset, source.len())?;
        // SAFETY: as in `read`.
        unsafe { target.copy_from_nonoverlapping(source.as_ptr(), source.len()) };
        self.copied.add(source.len());
        Ok(())
    }

    fn at(&self, offset: u64, len: usize) -> Result<*mut u8, AccessError> {
        let end = offset.saturating_add(len as u64);
        range::check(&(offset..end), self.len as u64)?;
        let offset = usize::try_from(offset).unwrap_or(self.len);
        // SAFETY: the offset is at most the length of the mapping.
        Ok(unsafe { self.start.add(offset) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_copied_in_and_out_at_any_offset() {
        let mut memory = [0u8; 16];
        let copied = Copied::default();
        // SAFETY: the array outlives the value and is not used beside it.
        let bytes = unsafe { MappedBytes::new(memory.as_mut_ptr(), 16, copied.clone()) };

        bytes.write(3, &[1, 2, 3]).unwrap();
        let mut read = [0; 4];
        bytes.read(2, &mut read).unwrap();

        assert_eq!(read, [0, 1, 2, 3]);
        assert_eq!(copied.bytes(), 7);
    }

    #[test]
    fn copies_outside_are_refused() {
        let mut memory = [0u8; 16];
        // SAFETY: as above.
        let bytes = unsafe { MappedBytes::new(memory.as_mut_ptr(), 16, Copied::default()) };

        assert!(bytes.write(15, &[1, 2]).is_err());
        assert!(bytes.read(17, &mut []).is_err());
        assert!(bytes.read(u64::MAX, &mut [0; 2]).is_err());
        assert!(bytes.read(16, &mut []).is_ok());
    }
}
