//! The EDID of a virtual display: a base block of VESA E-EDID 1.4 and, for modes that its timing
//! descriptors cannot hold, an extension block of VESA DisplayID 1.3.

mod descriptor;
mod display_id;
mod timing;

use self::timing::Timing;
use super::display::Mode;

/// Bytes of a block.
const BLOCK_LEN: usize = 128;
/// Micrometres of a pixel at 96 dpi.
const PIXEL_UM: u32 = 265;

/// Width and height in millimetres.
type Millimetres = [u32; 2];

/// What tells a display from others.
#[derive(Debug)]
struct Identity {
    serial: u32,
    name: String,
}

impl Identity {
    /// Not registered with anybody.
    const MANUFACTURER: [u8; 3] = *b"COH";
    const PRODUCT: u16 = 1;
    /// 2026, counted from 1990.
    const MODEL_YEAR: u8 = 36;

    fn of_output(output: u32) -> Self {
        let serial = output.saturating_add(1);
        Self {
            serial,
            name: format!("coherd {serial}"),
        }
    }
}

/// The EDID, one or two blocks, of the display `mode` on output `output`.
///
/// Product name and serial number tell the displays of a device apart. Where the extension holds
/// the mode, the base block has a smaller one of the same shape, because it must have one.
pub fn edid(output: u32, mode: Mode) -> Vec<u8> {
    let identity = Identity::of_output(output);
    let size = [mode.width(), mode.height()].map(|side| side * PIXEL_UM / 1000);
    let native = Timing::reduced_blanking(mode.width(), mode.height());
    let mut fitting = native;
    while !descriptor::holds(&fitting) {
        fitting = Timing::reduced_blanking(fitting.width / 2, fitting.height / 2);
    }
    let is_native = fitting == native;
    let mut blocks = base_block(&identity, &fitting, size, is_native).to_vec();
    if !is_native {
        blocks.extend_from_slice(&display_id::block(&identity, &native, size));
    }
    blocks
}

/// VESA E-EDID 1.4 section 3.
fn base_block(
    identity: &Identity,
    timing: &Timing,
    size: Millimetres,
    is_native: bool,
) -> [u8; BLOCK_LEN] {
    let mut block = [0; BLOCK_LEN];
    block[..8].copy_from_slice(&[0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00]);
    block[8..10].copy_from_slice(&manufacturer().to_be_bytes());
    block[10..12].copy_from_slice(&Identity::PRODUCT.to_le_bytes());
    block[12..16].copy_from_slice(&identity.serial.to_le_bytes());
    // 0xff instead of a week: the year is that of the model. Then EDID 1.4.
    block[16..20].copy_from_slice(&[0xff, Identity::MODEL_YEAR, 1, 4]);
    // Digital, 8 bits per colour, no interface given.
    block[20] = 0xa0;
    let [width_cm, height_cm] = size.map(|side| low_byte((side + 5) / 10));
    block[21] = width_cm;
    block[22] = height_cm;
    // Gamma 2.2.
    block[23] = 120;
    // sRGB is the default; the first timing is the native one.
    block[24] = 0x04 | u8::from(is_native) << 1;
    // Chromaticity of sRGB.
    block[25..35].copy_from_slice(&[0xee, 0x91, 0xa3, 0x54, 0x4c, 0x99, 0x26, 0x0f, 0x50, 0x54]);
    // Standard timings: unused.
    block[38..54].fill(0x01);
    block[54..72].copy_from_slice(&descriptor::timing(timing, size));
    block[72..90].copy_from_slice(&descriptor::name(&identity.name));
    block[90..108].copy_from_slice(&descriptor::DUMMY);
    block[108..126].copy_from_slice(&descriptor::DUMMY);
    block[126] = u8::from(!is_native);
    block[127] = checksum(&block);
    block
}

/// Three letters as five bits each, section 3.4.1.
fn manufacturer() -> u16 {
    Identity::MANUFACTURER
        .into_iter()
        .fold(0, |id, letter| id << 5 | u16::from(letter - b'A' + 1))
}

/// The byte that brings the sum of `bytes` to zero.
fn checksum(bytes: &[u8]) -> u8 {
    bytes
        .iter()
        .fold(0, |sum: u8, byte| sum.wrapping_sub(*byte))
}

fn low_byte(value: u32) -> u8 {
    value.to_le_bytes()[0]
}

#[cfg(test)]
mod tests;
