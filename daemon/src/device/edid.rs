//! An EDID block for a virtual monitor, VESA E-EDID 1.4 with VESA CVT reduced blanking timings.

/// Bytes of a block.
const BLOCK_LEN: usize = 128;

/// Horizontal blanking of CVT reduced blanking, in pixels.
const H_BLANK: u32 = 160;
/// Front porch and sync width within [`H_BLANK`], in pixels.
const H_FRONT: u32 = 48;
const H_SYNC: u32 = 32;
/// Front porch and smallest back porch of CVT reduced blanking, in lines.
const V_FRONT: u32 = 3;
const V_BACK_MIN: u32 = 6;
/// Shortest vertical blanking, in microseconds.
const V_BLANK_US: u64 = 460;
/// Refresh rate in Hz.
const REFRESH: u64 = 60;
/// Pixels per millimetre at 96 dpi, as a fraction.
const MM_PER_10_PIXELS_X1000: u32 = 2646;

/// The block of a monitor that prefers `width` by `height` pixels at 60 Hz.
///
/// Sides over 4095 pixels, which a timing descriptor cannot hold, are cut to that.
pub fn block(width: u32, height: u32) -> [u8; BLOCK_LEN] {
    let (width, height) = (width.clamp(16, 4095), height.clamp(16, 4095));
    let mut edid = [0; BLOCK_LEN];
    edid[..8].copy_from_slice(&[0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00]);
    edid[8..10].copy_from_slice(&manufacturer(*b"CHD").to_be_bytes());
    edid[10..12].copy_from_slice(&1u16.to_le_bytes());
    // Week 0 with year 36: model year 2026; then EDID 1.4.
    edid[16..20].copy_from_slice(&[0xff, 36, 1, 4]);
    // Digital, 8 bits per colour, no interface given.
    edid[20] = 0xa0;
    let [width_mm, height_mm] = [width, height].map(|side| side * MM_PER_10_PIXELS_X1000 / 10_000);
    edid[21] = low_byte(width_mm / 10);
    edid[22] = low_byte(height_mm / 10);
    // Gamma 2.2; sRGB is the default and the first timing is the native one.
    edid[23] = 120;
    edid[24] = 0x06;
    // Chromaticity of sRGB, VESA E-EDID 1.4 section 3.7.
    edid[25..35].copy_from_slice(&[0xee, 0x91, 0xa3, 0x54, 0x4c, 0x99, 0x26, 0x0f, 0x50, 0x54]);
    // Standard timings: unused.
    edid[38..54].fill(0x01);
    edid[54..72].copy_from_slice(&detailed_timing(width, height, width_mm, height_mm));
    edid[72..90].copy_from_slice(&text_descriptor(0xfc, b"coherd"));
    // Dummy descriptors.
    edid[93] = 0x10;
    edid[111] = 0x10;
    let sum = edid.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    edid[BLOCK_LEN - 1] = 0u8.wrapping_sub(sum);
    edid
}

/// Three letters as five bits each, VESA E-EDID 1.4 section 3.4.1.
fn manufacturer(letters: [u8; 3]) -> u16 {
    letters
        .into_iter()
        .fold(0, |id, letter| id << 5 | u16::from(letter - b'A' + 1))
}

/// VESA E-EDID 1.4 section 3.10.2.
fn detailed_timing(width: u32, height: u32, width_mm: u32, height_mm: u32) -> [u8; 18] {
    let v_sync = vertical_sync(width, height);
    let active_us = 1_000_000 / REFRESH - V_BLANK_US;
    let line_blank = V_BLANK_US * u64::from(height) / active_us + 1;
    let v_blank = u32::try_from(line_blank)
        .unwrap_or(0)
        .max(V_FRONT + v_sync + V_BACK_MIN);
    let pixels = u64::from(width + H_BLANK) * u64::from(height + v_blank);
    // Units of 10 kHz, in CVT's steps of 250 kHz.
    let clock = (pixels * REFRESH / 250_000 * 25).min(u64::from(u16::MAX));
    let clock = u16::try_from(clock).unwrap_or(u16::MAX).to_le_bytes();
    let high = |a: u32, b: u32| low_byte((a >> 8) << 4 | b >> 8);
    [
        clock[0],
        clock[1],
        low_byte(width),
        low_byte(H_BLANK),
        high(width, H_BLANK),
        low_byte(height),
        low_byte(v_blank),
        high(height, v_blank),
        low_byte(H_FRONT),
        low_byte(H_SYNC),
        low_byte(V_FRONT << 4 | v_sync),
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

/// Lines of vertical sync by aspect ratio, VESA CVT 1.2 table 3-2.
fn vertical_sync(width: u32, height: u32) -> u32 {
    let is = |x: u32, y: u32| width * y == height * x;
    match () {
        () if is(4, 3) => 4,
        () if is(16, 9) => 5,
        () if is(16, 10) => 6,
        () if is(5, 4) || is(15, 9) => 7,
        () => 10,
    }
}

fn text_descriptor(tag: u8, text: &[u8]) -> [u8; 18] {
    let mut descriptor = [b' '; 18];
    descriptor[..5].copy_from_slice(&[0, 0, 0, tag, 0]);
    for (to, from) in descriptor[5..].iter_mut().zip(text.iter().chain(b"\n")) {
        *to = *from;
    }
    descriptor
}

fn low_byte(value: u32) -> u8 {
    value.to_le_bytes()[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_sum_to_zero() {
        for (width, height) in [(1280, 800), (640, 480), (3840, 2160), (1, 1), (9999, 9999)] {
            let sum = block(width, height)
                .iter()
                .fold(0u8, |sum, byte| sum.wrapping_add(*byte));
            assert_eq!(sum, 0);
        }
    }

    #[test]
    fn timing_of_1280x800_is_that_of_cvt_reduced_blanking() {
        let edid = block(1280, 800);
        // 71 MHz, 1280 + 160 by 800 + 23.
        assert_eq!(
            edid[54..62],
            [0xbc, 0x1b, 0x00, 0xa0, 0x50, 0x20, 0x17, 0x30]
        );
        assert_eq!(edid[62..65], [48, 32, 0x36]);
    }
}
