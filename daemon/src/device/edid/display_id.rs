//! An extension block of VESA DisplayID 1.3 for one timing.

use super::timing::Timing;
use super::{BLOCK_LEN, Identity, Millimetres, checksum, low_byte};

/// Tag of the extension block.
const TAG: u8 = 0x70;
/// DisplayID 1.3.
const VERSION: u8 = 0x13;
/// Bytes of data blocks in a section that fills an extension block.
const SECTION_LEN: u8 = 121;
/// Product type: a stand-alone display.
const STAND_ALONE: u8 = 3;

/// Tags of data blocks.
const PRODUCT: u8 = 0x00;
const PARAMETERS: u8 = 0x01;
const DETAILED_TIMINGS: u8 = 0x03;
const INTERFACE: u8 = 0x0f;

/// One link of a proprietary digital interface with 8 bits per colour in RGB.
const VIRTUAL_INTERFACE: [u8; 10] = [0xb1, 0, 0x02, 0, 0, 0, 0, 0, 0, 0];

/// Options of a timing: preferred, with an aspect ratio that the standard has no number for.
const PREFERRED: u8 = 0x88;
/// Set beside a front porch: the sync is positive.
const POSITIVE: u32 = 0x8000;

/// The block of a display whose preferred timing this is.
pub fn block(identity: &Identity, timing: &Timing, size: Millimetres) -> [u8; BLOCK_LEN] {
    let mut blocks = vec![TAG, VERSION, SECTION_LEN, STAND_ALONE, 0];
    append(&mut blocks, PRODUCT, &product(identity));
    append(&mut blocks, PARAMETERS, &parameters(timing, size));
    append(&mut blocks, DETAILED_TIMINGS, &detailed_timing(timing));
    append(&mut blocks, INTERFACE, &VIRTUAL_INTERFACE);
    let mut block = [0; BLOCK_LEN];
    for (to, from) in block.iter_mut().zip(blocks) {
        *to = from;
    }
    block[126] = checksum(&block[1..126]);
    block[127] = checksum(&block);
    block
}

fn append(blocks: &mut Vec<u8>, tag: u8, data: &[u8]) {
    let len = u8::try_from(data.len()).unwrap_or(0);
    blocks.extend_from_slice(&[tag, 0, len]);
    blocks.extend_from_slice(data);
}

fn product(identity: &Identity) -> Vec<u8> {
    let mut bytes = Identity::MANUFACTURER.to_vec();
    bytes.extend_from_slice(&Identity::PRODUCT.to_le_bytes());
    bytes.extend_from_slice(&identity.serial.to_le_bytes());
    // 0xff instead of a week: the year is that of the model, counted from 2000.
    bytes.extend_from_slice(&[0xff, Identity::MODEL_YEAR - 10]);
    bytes.push(u8::try_from(identity.name.len()).unwrap_or(0));
    bytes.extend_from_slice(identity.name.as_bytes());
    bytes
}

fn parameters(timing: &Timing, size: Millimetres) -> [u8; 12] {
    let mut bytes = [0; 12];
    let tenths = size.map(|side| side * 10);
    let words = [tenths[0], tenths[1], timing.width, timing.height];
    write_words(&mut bytes, &words);
    // Gamma 2.2, aspect ratio as (long side / short side - 1) * 100, 8 bits per colour.
    let (long, short) = (
        timing.width.max(timing.height),
        timing.width.min(timing.height),
    );
    let ratio = (long * 100 + short / 2) / short - 100;
    bytes[9..].copy_from_slice(&[120, u8::try_from(ratio).unwrap_or(u8::MAX), 0x77]);
    bytes
}

/// Every number is one less than what it stands for.
fn detailed_timing(timing: &Timing) -> [u8; 20] {
    let [clock_0, clock_1, clock_2, _] = (timing.clock - 1).to_le_bytes();
    let mut bytes = [0; 20];
    bytes[..4].copy_from_slice(&[clock_0, clock_1, clock_2, PREFERRED]);
    let lengths = [
        timing.width - 1,
        timing.h_blank - 1,
        (timing.h_front - 1) | POSITIVE,
        timing.h_sync - 1,
        timing.height - 1,
        timing.v_blank - 1,
        timing.v_front - 1,
        timing.v_sync - 1,
    ];
    write_words(&mut bytes[4..], &lengths);
    bytes
}

/// Writes the lower 16 bits of each word, little endian.
fn write_words(bytes: &mut [u8], words: &[u32]) {
    for (to, word) in bytes.chunks_exact_mut(2).zip(words) {
        to.copy_from_slice(&[low_byte(*word), low_byte(word >> 8)]);
    }
}
