//! Bytes of memory that others change at any time.
//!
//! A `&[u8]` promises the compiler that the bytes stay as they are, and a guest, a GPU or another
//! process breaks that promise. So nothing here borrows the memory: it is copied, by volatile
//! accesses of its aligned words, and what was copied is checked afterwards.

#![allow(unsafe_code, reason = "the addresses are checked here")]

use std::marker::PhantomData;
use std::ptr::NonNull;

use crate::error::SyncError;

const WORD: usize = size_of::<u64>();

/// Mapped bytes.
#[derive(Clone, Copy, Debug)]
pub struct Bytes<'m> {
    start: NonNull<u8>,
    len: usize,
    mapping: PhantomData<&'m ()>,
}

// SAFETY: the memory is mapped for every thread, and all accesses expect others.
unsafe impl Send for Bytes<'_> {}
// SAFETY: as above.
unsafe impl Sync for Bytes<'_> {}

impl<'m> Bytes<'m> {
    /// # Safety
    /// For `'m`, `len` bytes at `start` are mapped to be read, and to be written if anything is
    /// written here, and Rust has no reference to them.
    pub unsafe fn new(start: NonNull<u8>, len: usize) -> Self {
        let mapping = PhantomData;
        Self {
            start,
            len,
            mapping,
        }
    }

    /// How many there are.
    pub fn len(self) -> usize {
        self.len
    }

    /// Where they are.
    pub fn as_ptr(self) -> *mut u8 {
        self.start.as_ptr()
    }

    /// `len` of them from `offset` on.
    ///
    /// # Errors
    /// [`SyncError::OutOfRange`]
    pub fn part(self, offset: usize, len: usize) -> Result<Bytes<'m>, SyncError> {
        let start = self.at(offset, len)?;
        Ok(Self { start, len, ..self })
    }

    /// Copies from `offset` on to `out`.
    ///
    /// # Errors
    /// [`SyncError::OutOfRange`]; nothing is copied.
    pub fn load(self, offset: usize, out: &mut [u8]) -> Result<(), SyncError> {
        let source = self.at(offset, out.len())?.as_ptr();
        let (head, words) = parts(source.addr(), out.len());
        let (head_out, rest) = out.split_at_mut(head);
        let (words_out, tail_out) = rest.split_at_mut(words * WORD);
        // SAFETY: the parts are inside of what `at` has checked, and words are aligned.
        unsafe {
            load_bytes(source, head_out);
            load_words(source.add(head).cast(), words_out);
            load_bytes(source.add(head + words * WORD), tail_out);
        }
        Ok(())
    }

    /// Copies `data` to here from `offset` on.
    ///
    /// # Errors
    /// [`SyncError::OutOfRange`]; nothing is copied.
    pub fn store(self, offset: usize, data: &[u8]) -> Result<(), SyncError> {
        let target = self.at(offset, data.len())?.as_ptr();
        let (head, words) = parts(target.addr(), data.len());
        let (head_data, rest) = data.split_at(head);
        let (words_data, tail_data) = rest.split_at(words * WORD);
        // SAFETY: the parts are inside of what `at` has checked, and words are aligned.
        unsafe {
            store_bytes(target, head_data);
            store_words(target.add(head).cast(), words_data);
            store_bytes(target.add(head + words * WORD), tail_data);
        }
        Ok(())
    }

    fn at(self, offset: usize, len: usize) -> Result<NonNull<u8>, SyncError> {
        if offset.checked_add(len).is_none_or(|end| end > self.len) {
            let wide = |value| u64::try_from(value).unwrap_or(u64::MAX);
            return Err(SyncError::OutOfRange {
                offset: wide(offset),
                len: wide(len),
                size: wide(self.len),
            });
        }
        // SAFETY: `offset` is at most `len`: the address is inside the mapping or at its end.
        Ok(unsafe { self.start.add(offset) })
    }
}

/// How many bytes there are before the first aligned word, and how many words then.
fn parts(address: usize, len: usize) -> (usize, usize) {
    let head = (address.wrapping_neg() % WORD).min(len);
    (head, (len - head) / WORD)
}

/// # Safety
/// `out.len()` bytes at `source` are mapped.
unsafe fn load_bytes(source: *const u8, out: &mut [u8]) {
    for (place, out) in out.iter_mut().enumerate() {
        // SAFETY: `place` is under the length.
        *out = unsafe { source.add(place).read_volatile() };
    }
}

/// # Safety
/// `source` is aligned, and `out.len()` bytes there are mapped.
unsafe fn load_words(source: *const u64, out: &mut [u8]) {
    for (place, out) in out.as_chunks_mut::<WORD>().0.iter_mut().enumerate() {
        // SAFETY: `place` is under the number of words.
        *out = unsafe { source.add(place).read_volatile() }.to_ne_bytes();
    }
}

/// # Safety
/// `data.len()` bytes at `target` are mapped to be written.
unsafe fn store_bytes(target: *mut u8, data: &[u8]) {
    for (place, byte) in data.iter().enumerate() {
        // SAFETY: `place` is under the length.
        unsafe { target.add(place).write_volatile(*byte) };
    }
}

/// # Safety
/// `target` is aligned, and `data.len()` bytes there are mapped to be written.
unsafe fn store_words(target: *mut u64, data: &[u8]) {
    for (place, word) in data.as_chunks::<WORD>().0.iter().enumerate() {
        // SAFETY: `place` is under the number of words.
        unsafe { target.add(place).write_volatile(u64::from_ne_bytes(*word)) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Memory to copy from and to.
    fn bytes(memory: &mut [u8]) -> Bytes<'_> {
        let len = memory.len();
        let start = NonNull::new(memory.as_mut_ptr()).unwrap();
        // SAFETY: the result borrows `memory` exclusively.
        unsafe { Bytes::new(start, len) }
    }

    fn pattern(len: usize) -> Vec<u8> {
        (1..=u8::MAX).cycle().take(len).collect()
    }

    #[test]
    fn copies_are_right_at_every_alignment_and_length() {
        for offset in 0..17 {
            for len in (0..40).chain([4096]) {
                let mut memory = vec![0; offset + len + 9];
                let data = pattern(len);
                let mut back = vec![0; len];

                let shared = bytes(&mut memory);
                shared.store(offset, &data).unwrap();
                shared.load(offset, &mut back).unwrap();

                assert_eq!(back, data);
                assert!(memory[..offset].iter().all(|byte| *byte == 0));
                assert_eq!(memory[offset..offset + len], data);
                assert!(memory[offset + len..].iter().all(|byte| *byte == 0));
            }
        }
    }

    #[test]
    fn nothing_outside_is_touched() {
        let mut memory = [7; 16];
        let shared = bytes(&mut memory);
        for (offset, len) in [(0, 17), (16, 1), (17, 0), (usize::MAX, 2)] {
            assert!(shared.load(offset, &mut vec![0; len]).is_err());
            assert!(shared.store(offset, &vec![0; len]).is_err());
            assert!(shared.part(offset, len).is_err());
        }
        assert!(shared.part(16, 0).is_ok());
        assert_eq!(memory, [7; 16]);
    }

    #[test]
    fn part_of_a_part_is_where_it_should_be() {
        let mut memory = pattern(64);
        let part = bytes(&mut memory).part(8, 32).unwrap().part(3, 4).unwrap();
        let mut out = [0; 4];
        part.load(0, &mut out).unwrap();
        assert_eq!(out, [12, 13, 14, 15]);
        assert!(part.load(1, &mut out).is_err());
    }
}
