//! The guest's page allocator.

use std::collections::BTreeMap;

use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion};

use super::error::DriverError;

/// Bytes of a guest page.
pub const PAGE: u64 = 4096;

/// First-fit allocator of contiguous pages.
#[derive(Debug)]
pub struct Pages {
    free: BTreeMap<u64, u64>,
}

impl Pages {
    /// All of `memory` but the first `reserved` bytes of its first region.
    pub fn new(memory: &GuestMemoryMmap, reserved: u64) -> Self {
        let mut reserved = reserved.next_multiple_of(PAGE);
        let free = memory
            .iter()
            .map(|region| {
                let skip = std::mem::take(&mut reserved).min(region.len());
                (region.start_addr().0 + skip, region.len() - skip)
            })
            .filter(|(_, len)| *len > 0)
            .collect();
        Self { free }
    }

    /// Pages for `len` bytes, at least one.
    ///
    /// # Errors
    /// [`DriverError::OutOfPages`].
    pub fn alloc(&mut self, len: u64) -> Result<GuestAddress, DriverError> {
        let len = len.max(1).next_multiple_of(PAGE);
        let (start, available) = self
            .free
            .iter()
            .find(|(_, available)| **available >= len)
            .map(|(start, available)| (*start, *available))
            .ok_or(DriverError::OutOfPages)?;
        self.free.remove(&start);
        if available > len {
            self.free.insert(start + len, available - len);
        }
        Ok(GuestAddress(start))
    }

    /// Returns the pages of [`Self::alloc`] with the same `len`.
    pub fn free(&mut self, start: GuestAddress, len: u64) {
        let mut start = start.0;
        let mut len = len.max(1).next_multiple_of(PAGE);
        if let Some(after) = self.free.remove(&(start + len)) {
            len += after;
        }
        if let Some((before, before_len)) = self.free.range(..start).next_back()
            && before + before_len == start
        {
            start = *before;
            len += before_len;
        }
        self.free.insert(start, len);
    }
}
