//! The 18-byte descriptors of a base block, VESA E-EDID 1.4 section 3.10.

use super::timing::Timing;
use super::{Millimetres, low_byte};

/// Bytes of a descriptor.
const LEN: usize = 18;

/// Largest length in pixels or lines: 12 bits.
const MAX_LENGTH: u32 = 0xfff;
/// Largest pixel clock in units of 10 kHz: 16 bits.
const MAX_CLOCK: u32 = 0xffff;

/// A descriptor without a meaning.
pub const DUMMY: [u8; LEN] = [0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Whether a detailed timing descriptor has room for `timing`.
pub fn holds(timing: &Timing) -> bool {
    timing.width <= MAX_LENGTH && timing.height <= MAX_LENGTH && timing.clock <= MAX_CLOCK
}

/// A detailed timing, section 3.10.2, which [`holds`] has accepted.
pub fn timing(timing: &Timing, size: Millimetres) -> [u8; LEN] {
    let [clock_low, clock_high, ..] = timing.clock.to_le_bytes();
    let high = |a: u32, b: u32| low_byte((a >> 8) << 4 | b >> 8);
    let [width_mm, height_mm] = size;
    [
        clock_low,
        clock_high,
        low_byte(timing.width),
        low_byte(timing.h_blank),
        high(timing.width, timing.h_blank),
        low_byte(timing.height),
        low_byte(timing.v_blank),
        high(timing.height, timing.v_blank),
        low_byte(timing.h_front),
        low_byte(timing.h_sync),
        low_byte(timing.v_front << 4 | timing.v_sync),
        0,
        low_byte(width_mm),
        low_byte(height_mm),
        high(width_mm, height_mm),
        0,
        0,
        // Digital separate sync, horizontal positive, vertical negative.
        0x1a,
    ]
}

/// The product name, of which 13 bytes count: section 3.10.3.4.
pub fn name(text: &str) -> [u8; LEN] {
    let mut descriptor = [b' '; LEN];
    descriptor[..5].copy_from_slice(&[0, 0, 0, 0xfc, 0]);
    for (to, from) in descriptor[5..].iter_mut().zip(text.bytes().chain([b'\n'])) {
        *to = from;
    }
    descriptor
}
