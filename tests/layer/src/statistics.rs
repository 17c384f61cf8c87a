//! How often memory was flushed and invalidated.

use std::sync::atomic::{AtomicU64, Ordering};

/// Ranges, and the bytes of incoherent memory that were copied for them.
#[derive(Debug)]
pub struct Counter {
    ranges: AtomicU64,
    bytes: AtomicU64,
}

/// Of vkFlushMappedMemoryRanges.
pub static FLUSHES: Counter = Counter::new();

/// Of vkInvalidateMappedMemoryRanges.
pub static INVALIDATES: Counter = Counter::new();

impl Counter {
    const fn new() -> Self {
        Self {
            ranges: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        }
    }

    /// Counts a range, for which `bytes` were copied.
    pub fn count(&self, bytes: usize) {
        self.ranges.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Ranges so far.
    pub fn ranges(&self) -> u64 {
        self.ranges.load(Ordering::Relaxed)
    }

    /// Bytes so far.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}
