//! The log of pages that this process writes to guest memory, for a VMM that moves the guest while
//! it runs: a file with one bit for each page of 4096 bytes, counted from guest physical address 0.
//!
//! vhost-user, "Migration": VHOST_F_LOG_ALL logs what is written to buffers, VHOST_VRING_F_LOG what
//! is written to a used ring. Every write to guest memory goes through `vm-memory`, which marks it
//! in the [`RegionLog`] of its region.

use std::fs::File;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering, fence};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use rustix::io::Errno;
use thiserror::Error;
use vm_memory::bitmap::{BS, Bitmap, NewBitmap, RefSlice, WithBitmapSlice};
use vm_memory::mmap::MmapRegionError;
use vm_memory::{FileOffset, MmapRegion, VolatileMemory};

/// Bytes that a bit stands for, VHOST_LOG_PAGE. No matter how large the pages of the host are.
const PAGE: u64 = 4096;
/// Bytes of guest memory that a byte of the log stands for.
const PER_BYTE: u64 = 8 * PAGE;

/// Why a log was refused.
#[derive(Debug, Error)]
pub enum DirtyLogError {
    /// The file could not be looked at.
    #[error("cannot inspect the file of the dirty log")]
    Inspect(#[from] Errno),
    /// The log ends before guest memory does.
    #[error("dirty log of {size} bytes is too small: guest memory needs {needed}")]
    TooSmall {
        /// Bytes that the front-end gave.
        size: u64,
        /// Bytes for all of guest memory.
        needed: u64,
    },
    /// The file ends before the log does; touching what is missing would kill this process.
    #[error("dirty log of {size} bytes at offset {offset} is not inside its file of {file} bytes")]
    PastEnd {
        /// Bytes of the log.
        size: u64,
        /// Where it begins in the file.
        offset: u64,
        /// Bytes of the file.
        file: u64,
    },
    /// The file could not be mapped.
    #[error("cannot map the dirty log")]
    Map(#[source] MmapRegionError),
}

/// The log of one front-end.
#[derive(Debug, Default)]
pub struct DirtyLog {
    /// VHOST_F_LOG_ALL: writes to buffers are logged.
    all: AtomicBool,
    bits: RwLock<Option<MmapRegion>>,
}

impl DirtyLog {
    /// Logs in `size` bytes of `file` from now on (SET_LOG_BASE). When this returns, the log before
    /// it is not touched any more.
    ///
    /// # Errors
    /// See [`DirtyLogError`]; the log before it stays. `memory_end` is the end of guest memory.
    pub fn set(
        &self,
        file: File,
        offset: u64,
        size: u64,
        memory_end: u64,
    ) -> Result<(), DirtyLogError> {
        let needed = memory_end.div_ceil(PER_BYTE);
        if size < needed {
            return Err(DirtyLogError::TooSmall { size, needed });
        }
        let len = u64::try_from(rustix::fs::fstat(&file)?.st_size).unwrap_or(0);
        let past_end = DirtyLogError::PastEnd {
            size,
            offset,
            file: len,
        };
        if offset.checked_add(size).is_none_or(|end| end > len) {
            return Err(past_end);
        }
        let size = usize::try_from(size).map_err(|_| past_end)?;
        let bits = MmapRegion::from_file(FileOffset::new(file, offset), size);
        let bits = Some(bits.map_err(DirtyLogError::Map)?);
        *self.bits.write().unwrap_or_else(PoisonError::into_inner) = bits;
        Ok(())
    }

    /// Whether there is a bit for each page of guest memory that ends at `memory_end`, or no log.
    pub fn covers(&self, memory_end: u64) -> bool {
        let size = self.bits().as_ref().map(MmapRegion::size);
        let size = size.map(|size| u64::try_from(size).unwrap_or(u64::MAX));
        size.is_none_or(|size| size >= memory_end.div_ceil(PER_BYTE))
    }

    /// Logs writes to buffers, or stops doing so (VHOST_F_LOG_ALL). Every write that ends after
    /// this returns is logged.
    pub fn log_all(&self, all: bool) {
        self.all.store(all, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// Marks what was written to a buffer, if such writes are logged.
    fn mark_buffer(&self, address: u64, len: u64) {
        // The write comes before the question, which comes after any order to log it.
        fence(Ordering::SeqCst);
        if self.all.load(Ordering::SeqCst) {
            self.mark(address, len);
        }
    }

    /// Marks the pages of `len` bytes that were written at a guest physical address. Pages past the
    /// end of the log are not the front-end's concern.
    pub fn mark(&self, address: u64, len: u64) {
        let bits = self.bits();
        let Some((bits, pages)) = bits.as_ref().zip(pages(address, len)) else {
            return;
        };
        for byte in pages.start() / 8..=pages.end() / 8 {
            let Ok(index) = usize::try_from(byte) else {
                return;
            };
            let Ok(marks) = bits.get_atomic_ref::<AtomicU8>(index) else {
                return;
            };
            let from = pages.start().saturating_sub(byte * 8).min(7);
            let to = (pages.end() - byte * 8).min(7);
            let mask = u8::MAX << from & u8::MAX >> (7 - to);
            marks.fetch_or(mask, Ordering::SeqCst);
        }
    }

    fn bits(&self) -> RwLockReadGuard<'_, Option<MmapRegion>> {
        self.bits.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// First and last page of a range that is not empty.
fn pages(address: u64, len: u64) -> Option<RangeInclusive<u64>> {
    let last = address.saturating_add(len.checked_sub(1)?);
    Some(address / PAGE..=last / PAGE)
}

/// What of guest memory's writes a region has to log.
#[derive(Clone, Debug, Default)]
pub struct RegionLog {
    /// `None` where nothing is ever logged.
    log: Option<Arc<DirtyLog>>,
    start: u64,
}

impl RegionLog {
    /// The part of `log` for a region at a guest physical address.
    pub fn new(log: Option<Arc<DirtyLog>>, start: u64) -> Self {
        Self { log, start }
    }
}

impl<'a> WithBitmapSlice<'a> for RegionLog {
    type S = RefSlice<'a, Self>;
}

impl Bitmap for RegionLog {
    fn mark_dirty(&self, offset: usize, len: usize) {
        if let Some(log) = &self.log {
            let wide = |number| u64::try_from(number).unwrap_or(u64::MAX);
            log.mark_buffer(self.start.saturating_add(wide(offset)), wide(len));
        }
    }

    // The bits are the front-end's.
    fn dirty_at(&self, _offset: usize) -> bool {
        false
    }

    fn slice_at(&self, offset: usize) -> BS<'_, Self> {
        RefSlice::new(self, offset)
    }
}

impl NewBitmap for RegionLog {
    fn with_len(_len: usize) -> Self {
        Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

    const END: u64 = 64 * PAGE;

    fn memfd(size: u64) -> File {
        let fd = memfd_create("log", MemfdFlags::CLOEXEC).unwrap();
        ftruncate(&fd, size).unwrap();
        File::from(fd)
    }

    /// A log of everything, of 64 pages, and its file.
    fn log() -> (DirtyLog, File) {
        let (log, file) = (DirtyLog::default(), memfd(8));
        log.set(file.try_clone().unwrap(), 0, 8, END).unwrap();
        log.log_all(true);
        (log, file)
    }

    fn marks(file: &File) -> u64 {
        let mut bytes = [0; 8];
        file.read_exact_at(&mut bytes, 0).unwrap();
        u64::from_le_bytes(bytes)
    }

    #[test]
    fn each_page_that_a_write_touches_is_marked_and_no_other() {
        for (address, len, pages) in [
            (0, 1, 0b1),
            (4095, 2, 0b11),
            (4096, 4096, 0b10),
            (7 * PAGE, 8192, 0b1_1000_0000),
            (3 * PAGE, 16 * 4096, 0xffff << 3),
            (63 * PAGE, 4096, 1 << 63),
            (5, 0, 0),
        ] {
            let (log, file) = log();
            log.mark_buffer(address, len);
            assert_eq!(marks(&file), pages, "{len} at {address:#x}");
        }
    }

    #[test]
    fn pages_without_a_bit_are_not_marked() {
        let (log, file) = log();
        for (address, len) in [(END, 1), (u64::MAX, 1), (u64::MAX - 1, u64::MAX)] {
            log.mark(address, len);
        }
        assert_eq!(marks(&file), 0);
        log.mark(END - 1, 2);
        assert_eq!(marks(&file), 1 << 63);
    }

    #[test]
    fn buffers_are_logged_only_while_that_is_wanted_and_used_rings_always() {
        let (log, file) = log();
        log.log_all(false);
        log.mark_buffer(0, 1);
        log.mark(PAGE, 1);
        assert_eq!(marks(&file), 0b10);
    }

    #[test]
    fn log_that_is_replaced_is_left_alone() {
        let (log, old) = log();
        let new = memfd(2 * PAGE);
        log.set(new.try_clone().unwrap(), PAGE, 8, END).unwrap();
        log.mark_buffer(0, 1);
        let mut byte = [0];
        new.read_exact_at(&mut byte, PAGE).unwrap();
        assert_eq!((marks(&old), byte), (0, [1]));
    }

    #[test]
    fn logs_that_are_impossible_are_refused_and_the_old_one_stays() {
        let (log, file) = log();
        for (size, offset) in [(7, 0), (9, 0), (8, 8), (8, u64::MAX), (u64::MAX, 0), (8, 1)] {
            let refused = log.set(memfd(8), offset, size, END);
            assert!(refused.is_err(), "{size} at {offset}");
        }
        let unaligned = log.set(memfd(16), 1, 8, END).unwrap_err();
        assert!(matches!(unaligned, DirtyLogError::Map(_)), "{unaligned:?}");
        let endless = log.set(memfd(1 << 60), 0, 1 << 60, END).unwrap_err();
        assert!(matches!(endless, DirtyLogError::Map(_)), "{endless:?}");
        log.mark_buffer(0, 1);
        assert_eq!(marks(&file), 1);
    }

    #[test]
    fn region_marks_at_its_own_address() {
        let (log, file) = log();
        let region = RegionLog::new(Some(Arc::new(log)), 4 * PAGE);
        region.mark_dirty(4096, 1);
        region.slice_at(8192).mark_dirty(0, 1);
        assert_eq!(marks(&file), 0b110_0000);
    }
}
