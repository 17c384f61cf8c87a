//! Copies between memory of this process and memory that is shared with a device.
//!
//! Each one has three parts: bytes up to an address of the shared memory that is a multiple of
//! [`ALIGNMENT`], then blocks by instructions that the compiler does not see, then the rest. All
//! accesses to shared memory are aligned, because a processor may fault where memory is mapped as
//! that of a device (Arm's Device-nGnRE).

#![allow(unsafe_code, reason = "memory that Rust has no reference to")]

use super::blocks;

/// Alignment of the blocks.
const ALIGNMENT: usize = 16;

/// Bytes before the first aligned address, blocks, bytes behind them.
fn parts(shared: usize, len: usize) -> (usize, usize, usize) {
    let head = (shared.next_multiple_of(ALIGNMENT) - shared).min(len);
    let blocks = (len - head) / blocks::LEN;
    (head, blocks, len - head - blocks * blocks::LEN)
}

/// Whether an access is one of a naturally aligned word.
fn is_word(shared: usize, len: usize) -> bool {
    matches!(len, 2 | 4 | 8) && shared.is_multiple_of(len)
}

/// Copies out of shared memory, aligned words of up to 8 bytes in one access.
///
/// # Safety
/// `source` has to be mapped for `len` bytes, and `destination` to be valid for writes of as many,
/// which nobody else has.
pub unsafe fn load(destination: *mut u8, source: *const u8, len: usize, streaming: bool) {
    if is_word(source.addr(), len) {
        // SAFETY: `source` is mapped and aligned for the word, `destination` valid.
        unsafe {
            match len {
                2 => destination
                    .cast::<u16>()
                    .write_unaligned(source.cast::<u16>().read_volatile()),
                4 => destination
                    .cast::<u32>()
                    .write_unaligned(source.cast::<u32>().read_volatile()),
                _ => destination
                    .cast::<u64>()
                    .write_unaligned(source.cast::<u64>().read_volatile()),
            }
        }
        return;
    }
    let (head, count, tail) = parts(source.addr(), len);
    // SAFETY: the three parts are inside the caller's ranges, one behind the other, and the
    // source of the blocks is aligned.
    unsafe {
        load_bytes(destination, source, head);
        let (destination, source) = (destination.add(head), source.add(head));
        if streaming {
            blocks::load_streaming(destination, source, count);
        } else {
            blocks::load(destination, source, count);
        }
        let done = count * blocks::LEN;
        load_bytes(destination.add(done), source.add(done), tail);
    }
}

/// Copies into shared memory, aligned words of up to 8 bytes in one access.
///
/// # Safety
/// `destination` has to be mapped for `len` bytes, and `source` to be valid for reads of as many,
/// which nobody else writes.
pub unsafe fn store(destination: *mut u8, source: *const u8, len: usize) {
    if is_word(destination.addr(), len) {
        // SAFETY: `destination` is mapped and aligned for the word, `source` valid.
        unsafe {
            match len {
                2 => destination
                    .cast::<u16>()
                    .write_volatile(source.cast::<u16>().read_unaligned()),
                4 => destination
                    .cast::<u32>()
                    .write_volatile(source.cast::<u32>().read_unaligned()),
                _ => destination
                    .cast::<u64>()
                    .write_volatile(source.cast::<u64>().read_unaligned()),
            }
        }
        return;
    }
    let (head, count, tail) = parts(destination.addr(), len);
    // SAFETY: as in `load`, with the destination of the blocks aligned.
    unsafe {
        store_bytes(destination, source, head);
        let (destination, source) = (destination.add(head), source.add(head));
        blocks::store(destination, source, count);
        let done = count * blocks::LEN;
        store_bytes(destination.add(done), source.add(done), tail);
    }
}

/// Sets every byte of shared memory.
///
/// # Safety
/// `destination` has to be mapped for `len` bytes.
pub unsafe fn fill(destination: *mut u8, byte: u8, len: usize) {
    let (head, count, tail) = parts(destination.addr(), len);
    let edge = [byte; blocks::LEN];
    // SAFETY: as in `store`; `edge` is longer than head and tail.
    unsafe {
        store_bytes(destination, edge.as_ptr(), head);
        let destination = destination.add(head);
        blocks::fill(destination, byte, count);
        store_bytes(destination.add(count * blocks::LEN), edge.as_ptr(), tail);
    }
}

/// Loads every byte of shared memory and keeps none.
///
/// # Safety
/// `source` has to be mapped for `len` bytes.
pub unsafe fn scan(source: *const u8, len: usize, streaming: bool) {
    let (head, count, tail) = parts(source.addr(), len);
    let mut edge = [0; blocks::LEN];
    // SAFETY: as in `load`; `edge` is longer than head and tail.
    unsafe {
        load_bytes(edge.as_mut_ptr(), source, head);
        let source = source.add(head);
        if streaming {
            blocks::scan_streaming(source, count);
        } else {
            blocks::scan(source, count);
        }
        load_bytes(edge.as_mut_ptr(), source.add(count * blocks::LEN), tail);
    }
}

/// Whether loads past the cache do something that others do not on this processor.
pub fn has_streaming() -> bool {
    blocks::has_streaming()
}

/// # Safety
/// As [`load`].
unsafe fn load_bytes(destination: *mut u8, source: *const u8, len: usize) {
    for place in 0..len {
        // SAFETY: `place` is inside both ranges.
        unsafe { *destination.add(place) = source.add(place).read_volatile() };
    }
}

/// # Safety
/// As [`store`].
unsafe fn store_bytes(destination: *mut u8, source: *const u8, len: usize) {
    for place in 0..len {
        // SAFETY: `place` is inside both ranges.
        unsafe { destination.add(place).write_volatile(*source.add(place)) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_the_range_and_blocks_are_aligned() {
        for shared in 0x1000..0x1040 {
            for len in 0..400 {
                let (head, count, tail) = parts(shared, len);
                assert_eq!(head + count * blocks::LEN + tail, len);
                assert!(head < ALIGNMENT && tail < blocks::LEN);
                assert!(count == 0 || (shared + head).is_multiple_of(ALIGNMENT));
            }
        }
    }

    #[test]
    fn words_are_naturally_aligned() {
        assert!(is_word(0x1004, 4) && is_word(0x1008, 8) && is_word(0x1002, 2));
        assert!(!is_word(0x1002, 4) && !is_word(0x1004, 8) && !is_word(0x1000, 3));
    }
}
