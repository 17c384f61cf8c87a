//! Blocks on x86-64, with SSE2, which every such processor has.
//!
//! Each function is a loop of its own in assembly: 16 bytes an access, in the order of addresses,
//! as write-combining memory wants it.

#![allow(unsafe_code, reason = "assembly")]

use std::arch::asm;

/// Bytes of a block.
pub const LEN: usize = 64;

/// Copies blocks.
///
/// # Safety
/// `source` and `destination` have to be mapped for `count` blocks.
pub unsafe fn load(destination: *mut u8, source: *const u8, count: usize) {
    // SAFETY: both ranges are the caller's, and the loop ends after `count` blocks.
    unsafe { copy(destination, source, count) }
}

/// Copies blocks.
///
/// # Safety
/// As [`load`].
pub unsafe fn store(destination: *mut u8, source: *const u8, count: usize) {
    // SAFETY: as above.
    unsafe { copy(destination, source, count) }
}

unsafe fn copy(destination: *mut u8, source: *const u8, count: usize) {
    if count == 0 {
        return;
    }
    // SAFETY: the loop reads and writes `count` blocks, which the caller has, and nothing else
    // but the registers that are named.
    unsafe {
        asm!(
            "2:",
            "movups xmm0, [{source}]",
            "movups xmm1, [{source} + 16]",
            "movups xmm2, [{source} + 32]",
            "movups xmm3, [{source} + 48]",
            "movups [{destination}], xmm0",
            "movups [{destination} + 16], xmm1",
            "movups [{destination} + 32], xmm2",
            "movups [{destination} + 48], xmm3",
            "add {source}, 64",
            "add {destination}, 64",
            "dec {count}",
            "jnz 2b",
            source = inout(reg) source => _,
            destination = inout(reg) destination => _,
            count = inout(reg) count => _,
            out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _,
            options(nostack),
        );
    }
}

/// Copies blocks past the cache, which is several times faster than [`load`] in write-combining
/// memory. Does not order itself behind earlier accesses of other kinds but by its own fence.
///
/// # Safety
/// As [`load`], with `source` aligned to 16 and [`has_streaming`].
pub unsafe fn load_streaming(destination: *mut u8, source: *const u8, count: usize) {
    if count == 0 {
        return;
    }
    // SAFETY: as in `copy`; the caller knows that the processor has SSE4.1.
    unsafe {
        asm!(
            "mfence",
            "2:",
            "movntdqa xmm0, [{source}]",
            "movntdqa xmm1, [{source} + 16]",
            "movntdqa xmm2, [{source} + 32]",
            "movntdqa xmm3, [{source} + 48]",
            "movups [{destination}], xmm0",
            "movups [{destination} + 16], xmm1",
            "movups [{destination} + 32], xmm2",
            "movups [{destination} + 48], xmm3",
            "add {source}, 64",
            "add {destination}, 64",
            "dec {count}",
            "jnz 2b",
            "mfence",
            source = inout(reg) source => _,
            destination = inout(reg) destination => _,
            count = inout(reg) count => _,
            out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _,
            options(nostack),
        );
    }
}

/// Sets every byte of blocks.
///
/// # Safety
/// `destination` has to be mapped for `count` blocks.
pub unsafe fn fill(destination: *mut u8, byte: u8, count: usize) {
    if count == 0 {
        return;
    }
    let word = u64::from_ne_bytes([byte; 8]);
    // SAFETY: as in `copy`.
    unsafe {
        asm!(
            "movq xmm0, {word}",
            "punpcklqdq xmm0, xmm0",
            "2:",
            "movups [{destination}], xmm0",
            "movups [{destination} + 16], xmm0",
            "movups [{destination} + 32], xmm0",
            "movups [{destination} + 48], xmm0",
            "add {destination}, 64",
            "dec {count}",
            "jnz 2b",
            word = in(reg) word,
            destination = inout(reg) destination => _,
            count = inout(reg) count => _,
            out("xmm0") _,
            options(nostack),
        );
    }
}

/// Loads blocks and keeps nothing.
///
/// # Safety
/// `source` has to be mapped for `count` blocks.
pub unsafe fn scan(source: *const u8, count: usize) {
    if count == 0 {
        return;
    }
    // SAFETY: as in `copy`.
    unsafe {
        asm!(
            "2:",
            "movups xmm0, [{source}]",
            "movups xmm1, [{source} + 16]",
            "movups xmm2, [{source} + 32]",
            "movups xmm3, [{source} + 48]",
            "add {source}, 64",
            "dec {count}",
            "jnz 2b",
            source = inout(reg) source => _,
            count = inout(reg) count => _,
            out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _,
            options(nostack),
        );
    }
}

/// Loads blocks past the cache and keeps nothing.
///
/// # Safety
/// As [`scan`], with `source` aligned to 16 and [`has_streaming`].
pub unsafe fn scan_streaming(source: *const u8, count: usize) {
    if count == 0 {
        return;
    }
    // SAFETY: as in `load_streaming`.
    unsafe {
        asm!(
            "mfence",
            "2:",
            "movntdqa xmm0, [{source}]",
            "movntdqa xmm1, [{source} + 16]",
            "movntdqa xmm2, [{source} + 32]",
            "movntdqa xmm3, [{source} + 48]",
            "add {source}, 64",
            "dec {count}",
            "jnz 2b",
            source = inout(reg) source => _,
            count = inout(reg) count => _,
            out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _,
            options(nostack),
        );
    }
}

/// Whether the processor has SSE4.1.
pub fn has_streaming() -> bool {
    std::arch::is_x86_feature_detected!("sse4.1")
}
