//! EDIDs as a guest reads them.

use super::*;

/// What a guest takes from an EDID.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    width: u32,
    height: u32,
    clock: u32,
}

fn of(output: u32, width: u32, height: u32) -> Vec<u8> {
    edid(output, Mode::new(width, height).unwrap())
}

fn number(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .rev()
        .fold(0, |sum, byte| sum << 8 | u32::from(*byte))
}

/// The timing descriptor of the base block.
fn base_timing(edid: &[u8]) -> Seen {
    let side =
        |low: usize, high: usize| number(&edid[low..=low]) | number(&edid[high..=high]) >> 4 << 8;
    Seen {
        width: side(56, 58),
        height: side(59, 61),
        clock: number(&edid[54..56]),
    }
}

/// The timing of the extension block.
fn extension_timing(edid: &[u8]) -> Seen {
    let section = &edid[128 + 5..];
    let mut blocks = section;
    while blocks[0] != 3 {
        blocks = &blocks[3 + usize::from(blocks[2])..];
    }
    let timing = &blocks[3..23];
    Seen {
        width: number(&timing[4..6]) + 1,
        height: number(&timing[12..14]) + 1,
        clock: number(&timing[..3]) + 1,
    }
}

#[test]
fn every_block_sums_to_zero() {
    for (width, height) in [
        (400, 400),
        (1280, 800),
        (3840, 2160),
        (5120, 2880),
        (8192, 8192),
    ] {
        for block in of(0, width, height).chunks(BLOCK_LEN) {
            assert_eq!(checksum(block), 0, "{width}x{height}");
        }
    }
}

#[test]
fn mode_is_in_the_base_block_where_it_fits() {
    for (width, height) in [
        (400, 400),
        (1280, 800),
        (1366, 768),
        (4095, 400),
        (3840, 2160),
    ] {
        let edid = of(0, width, height);
        assert_eq!((edid.len(), edid[126]), (128, 0));
        let seen = base_timing(&edid);
        assert_eq!((seen.width, seen.height), (width, height));
    }
}

#[test]
fn larger_mode_is_in_an_extension_and_half_of_it_in_the_base_block() {
    for (width, height) in [
        (4096, 2160),
        (5120, 2880),
        (4095, 4095),
        (400, 8192),
        (8192, 8192),
    ] {
        let edid = of(0, width, height);
        assert_eq!((edid.len(), edid[126]), (256, 1));
        let seen = extension_timing(&edid);
        assert_eq!((seen.width, seen.height), (width, height));
        let expected = Timing::reduced_blanking(width, height);
        assert_eq!(seen.clock, expected.clock);
        let base = base_timing(&edid);
        assert_eq!(base.width * height / base.height, width);
    }
}

#[test]
fn displays_of_a_device_differ_in_serial_number_and_name() {
    let (first, second) = (of(0, 1280, 800), of(1, 1280, 800));
    assert_eq!(number(&first[12..16]), 1);
    assert_eq!(number(&second[12..16]), 2);
    assert_eq!(&second[77..86], b"coherd 2\n");
}

#[test]
fn size_is_that_of_96_dots_per_inch() {
    let edid = of(0, 1920, 1080);
    assert_eq!((edid[21], edid[22]), (51, 29));
    let millimetres = |low: usize, high: u8| number(&edid[low..=low]) | u32::from(high) << 8;
    assert_eq!(millimetres(66, edid[68] >> 4), 508);
    assert_eq!(millimetres(67, edid[68] & 15), 286);
}
