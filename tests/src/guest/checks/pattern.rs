//! Byte patterns that tell from where and when bytes are.

use super::error::Mismatch;
use crate::guest::random::{SplitMix64, mix};

/// Fills bytes with a sequence that a seed begins.
pub fn fill(seed: u64, bytes: &mut [u8]) {
    let mut numbers = SplitMix64::new(mix(seed));
    for chunk in bytes.chunks_mut(8) {
        let word = numbers.next_word().to_le_bytes();
        chunk.copy_from_slice(&word[..chunk.len()]);
    }
}

/// The first difference between two equally long sequences, and how many there are.
pub fn compare(expected: &[u8], found: &[u8]) -> Result<(), Mismatch> {
    if expected == found {
        return Ok(());
    }
    let differs = |(_, (a, b)): &(usize, (&u8, &u8))| a != b;
    let mut differences = expected.iter().zip(found).enumerate().filter(differs);
    match differences.next() {
        None => Ok(()),
        Some((offset, (expected, found))) => Err(Mismatch {
            offset,
            expected: *expected,
            found: *found,
            count: 1 + differences.count(),
        }),
    }
}

/// What `transform.wgsl` does to the whole words of some bytes.
pub fn transform(bytes: &mut [u8]) {
    for (index, word) in (0u32..).zip(bytes.chunks_exact_mut(4)) {
        for (byte, mask) in word.iter_mut().zip(mask(index).to_le_bytes()) {
            *byte ^= mask;
        }
    }
}

/// `mask` of `transform.wgsl`.
fn mask(index: u32) -> u32 {
    let x = index.wrapping_mul(0x9e37_79b1).wrapping_add(0x7f4a_7c15);
    let x = (x ^ (x >> 15)).wrapping_mul(0x85eb_ca77);
    x ^ (x >> 13)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fill_depends_on_the_seed_and_not_on_the_length() {
        let (mut short, mut long, mut other) = ([0; 11], [0; 64], [0; 64]);
        fill(7, &mut short);
        fill(7, &mut long);
        fill(8, &mut other);
        assert_eq!(short[..], long[..11]);
        assert_ne!(long, other);
    }

    #[test]
    fn compare_of_equal_bytes_is_ok() {
        assert_eq!(compare(&[1, 2, 3], &[1, 2, 3]), Ok(()));
    }

    #[test]
    fn compare_finds_the_first_difference_and_counts_all() {
        let mismatch = Mismatch {
            offset: 1,
            expected: 2,
            found: 9,
            count: 2,
        };
        assert_eq!(compare(&[1, 2, 3, 4], &[1, 9, 3, 9]), Err(mismatch));
    }

    #[test]
    fn transform_twice_gives_the_bytes_back_and_spares_the_rest() {
        let mut bytes = [0; 10];
        fill(3, &mut bytes);
        let before = bytes;
        transform(&mut bytes);
        assert_ne!(bytes[..8], before[..8]);
        assert_eq!(bytes[8..], before[8..]);
        transform(&mut bytes);
        assert_eq!(bytes, before);
    }
}
