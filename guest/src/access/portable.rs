//! Blocks by volatile words, for processors without a file of their own here.

#![allow(unsafe_code, reason = "memory that Rust has no reference to")]

/// Bytes of a block.
pub const LEN: usize = 16;

/// Words of a block.
const WORDS: usize = LEN / size_of::<u64>();

/// Copies blocks.
///
/// # Safety
/// `source` and `destination` have to be mapped for `count` blocks, and `source` to be aligned.
pub unsafe fn load(destination: *mut u8, source: *const u8, count: usize) {
    let (destination, source) = (destination.cast::<u64>(), source.cast::<u64>());
    for place in 0..count * WORDS {
        // SAFETY: `place` is inside both ranges.
        unsafe {
            destination
                .add(place)
                .write_unaligned(source.add(place).read_volatile())
        };
    }
}

/// As [`load`]: there are no loads past the cache here.
///
/// # Safety
/// As [`load`].
pub unsafe fn load_streaming(destination: *mut u8, source: *const u8, count: usize) {
    // SAFETY: the caller's promise.
    unsafe { load(destination, source, count) }
}

/// Copies blocks.
///
/// # Safety
/// `source` and `destination` have to be mapped for `count` blocks, and `destination` to be
/// aligned.
pub unsafe fn store(destination: *mut u8, source: *const u8, count: usize) {
    let (destination, source) = (destination.cast::<u64>(), source.cast::<u64>());
    for place in 0..count * WORDS {
        // SAFETY: `place` is inside both ranges.
        unsafe {
            destination
                .add(place)
                .write_volatile(source.add(place).read_unaligned())
        };
    }
}

/// Sets every byte of blocks.
///
/// # Safety
/// `destination` has to be mapped for `count` blocks and to be aligned.
pub unsafe fn fill(destination: *mut u8, byte: u8, count: usize) {
    let word = u64::from_ne_bytes([byte; 8]);
    for place in 0..count * WORDS {
        // SAFETY: `place` is inside the range.
        unsafe { destination.cast::<u64>().add(place).write_volatile(word) };
    }
}

/// Loads blocks and keeps nothing.
///
/// # Safety
/// `source` has to be mapped for `count` blocks and to be aligned.
pub unsafe fn scan(source: *const u8, count: usize) {
    for place in 0..count * WORDS {
        // SAFETY: `place` is inside the range.
        let _ = unsafe { source.cast::<u64>().add(place).read_volatile() };
    }
}

/// As [`scan`].
///
/// # Safety
/// As [`scan`].
pub unsafe fn scan_streaming(source: *const u8, count: usize) {
    // SAFETY: the caller's promise.
    unsafe { scan(source, count) }
}

/// Never.
pub fn has_streaming() -> bool {
    false
}
