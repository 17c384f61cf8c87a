//! A range of mapped memory.

#![allow(unsafe_code, reason = "the addresses are checked here")]

use std::marker::PhantomData;
use std::ops::Range;
use std::ptr::NonNull;

use thiserror::Error;

use super::copy;

/// A range is not inside what is mapped, or not inside what a guard was opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{len} bytes at {offset} are not inside {available} bytes")]
pub struct RangeError {
    /// Where it begins.
    pub offset: usize,
    /// Its length.
    pub len: usize,
    /// The length of what it should be inside of.
    pub available: usize,
}

/// Mapped memory that others may change at any time.
///
/// It is copied, never borrowed; see the module. Naturally aligned words of 2, 4 and 8 bytes are
/// copied in one access.
#[derive(Clone, Copy, Debug)]
pub struct Bytes<'m> {
    start: NonNull<u8>,
    len: usize,
    streaming: bool,
    map: PhantomData<&'m ()>,
}

// SAFETY: an address of memory that is mapped for all threads, and whose accesses expect others.
unsafe impl Send for Bytes<'_> {}
// SAFETY: as above.
unsafe impl Sync for Bytes<'_> {}

impl<'m> Bytes<'m> {
    /// # Safety
    /// `len` bytes from `start` have to stay mapped, for reading and writing, for `'m`, and to be
    /// no memory that Rust knows of.
    pub(super) unsafe fn new(start: NonNull<u8>, len: usize) -> Self {
        Self {
            start,
            len,
            streaming: false,
            map: PhantomData,
        }
    }

    /// The same memory, copied out of by loads past the cache where the processor has them: several
    /// times faster if the memory is write-combining, and no faster otherwise.
    #[must_use]
    pub fn streaming(self) -> Self {
        Self {
            streaming: copy::has_streaming(),
            ..self
        }
    }

    /// The same memory, copied out of by ordinary loads.
    #[must_use]
    pub fn cached(self) -> Self {
        Self {
            streaming: false,
            ..self
        }
    }

    /// Its length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where it is mapped. What is done with it, beyond what this type does, is `unsafe` and has
    /// to expect that the memory changes.
    #[must_use]
    pub fn as_ptr(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    /// A part of it.
    ///
    /// # Errors
    /// [`RangeError`]
    pub fn part(self, range: Range<usize>) -> Result<Self, RangeError> {
        let len = range.end.saturating_sub(range.start);
        let start = self.at(range.start, len)?;
        Ok(Self { start, len, ..self })
    }

    /// Copies bytes from `offset` on out of it.
    ///
    /// # Errors
    /// [`RangeError`], and nothing was copied.
    pub fn read(&self, offset: usize, out: &mut [u8]) -> Result<(), RangeError> {
        let source = self.at(offset, out.len())?;
        // SAFETY: `at` has checked that the source is mapped; `out` is borrowed exclusively.
        unsafe { copy::load(out.as_mut_ptr(), source.as_ptr(), out.len(), self.streaming) };
        Ok(())
    }

    /// Copies bytes into it from `offset` on.
    ///
    /// # Errors
    /// [`RangeError`], and nothing was copied.
    pub fn write(&self, offset: usize, bytes: &[u8]) -> Result<(), RangeError> {
        let destination = self.at(offset, bytes.len())?;
        // SAFETY: `at` has checked that the destination is mapped; `bytes` is borrowed.
        unsafe { copy::store(destination.as_ptr(), bytes.as_ptr(), bytes.len()) };
        Ok(())
    }

    /// Sets every byte of it.
    pub fn fill(&self, byte: u8) {
        // SAFETY: all of it is mapped.
        unsafe { copy::fill(self.start.as_ptr(), byte, self.len) };
    }

    /// Loads every byte of it and keeps none, to measure how fast that is.
    pub fn scan(&self) {
        // SAFETY: all of it is mapped, and `streaming` is only set where the processor can.
        unsafe { copy::scan(self.start.as_ptr(), self.len, self.streaming) };
    }

    fn at(&self, offset: usize, len: usize) -> Result<NonNull<u8>, RangeError> {
        let inside = offset.checked_add(len).is_some_and(|end| end <= self.len);
        if !inside {
            return Err(RangeError {
                offset,
                len,
                available: self.len,
            });
        }
        // SAFETY: `offset` is at most `len`, so that the address is inside the mapping or right
        // behind it.
        Ok(unsafe { self.start.add(offset) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::SharedMap;
    use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
    use std::os::fd::AsFd;

    fn map(len: usize) -> SharedMap {
        let file = memfd_create("test", MemfdFlags::CLOEXEC).unwrap();
        ftruncate(&file, len as u64).unwrap();
        SharedMap::new(file.as_fd(), 0, len).unwrap()
    }

    fn pattern(len: usize) -> Vec<u8> {
        (0..len)
            .map(|place| ((place * 7 + place / 251) % 256).try_into().unwrap())
            .collect()
    }

    #[test]
    fn bytes_come_back_at_every_offset_and_length() {
        let map = map(8192);
        for streaming in [false, true] {
            let bytes = if streaming {
                map.bytes().streaming()
            } else {
                map.bytes()
            };
            for offset in 0..70 {
                for len in (0..300).chain([4096]) {
                    let (expected, mut found) = (pattern(len), vec![0; len]);
                    bytes.fill(0xee);
                    bytes.write(offset, &expected).unwrap();
                    bytes.read(offset, &mut found).unwrap();
                    assert_eq!(found, expected, "{offset} {len}");
                    let mut around = [0; 2];
                    bytes.read(offset + len, &mut around[..1]).unwrap();
                    if offset > 0 {
                        bytes.read(offset - 1, &mut around[1..]).unwrap();
                    } else {
                        around[1] = 0xee;
                    }
                    assert_eq!(around, [0xee; 2], "{offset} {len}");
                }
            }
        }
    }

    #[test]
    fn fill_sets_a_part_and_nothing_else() {
        let map = map(4096);
        for (start, end) in [(0, 0), (0, 1), (5, 8), (3, 300), (64, 128), (0, 4096)] {
            map.bytes().fill(1);
            map.bytes().part(start..end).unwrap().fill(9);
            let mut all = vec![0; 4096];
            map.bytes().read(0, &mut all).unwrap();
            for (place, byte) in all.into_iter().enumerate() {
                assert_eq!(
                    byte == 9,
                    (start..end).contains(&place),
                    "{start} {end} {place}"
                );
            }
        }
    }

    #[test]
    fn ranges_outside_are_refused_without_overflow() {
        let map = map(4096);
        let bytes = map.bytes();
        assert!(bytes.read(4095, &mut [0; 2]).is_err());
        assert!(bytes.write(usize::MAX, &[0; 2]).is_err());
        assert!(bytes.part(4000..4097).is_err());
        assert!(bytes.part(4096..4096).unwrap().is_empty());
        assert_eq!(
            bytes.write(4096, &[1]),
            Err(RangeError {
                offset: 4096,
                len: 1,
                available: 4096
            })
        );
    }

    #[test]
    fn scan_takes_any_range() {
        let map = map(4096);
        for range in [0..0, 0..1, 1..4095, 17..96] {
            let part = map.bytes().part(range).unwrap();
            part.scan();
            part.streaming().scan();
        }
    }
}
