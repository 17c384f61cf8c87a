//! Bytes that tell where and when they were written.

use super::runner::{Outcome, Stop};

/// So many bytes, other ones for each seed (SplitMix64).
pub fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut bytes = Vec::with_capacity(len.next_multiple_of(8));
    while bytes.len() < len {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bytes.extend_from_slice(&(word ^ (word >> 31)).to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// Compares, and says where and how much differs.
pub fn compare(expected: &[u8], found: &[u8]) -> Outcome {
    if expected == found {
        return Ok(());
    }
    let mut differences = expected
        .iter()
        .zip(found)
        .enumerate()
        .filter(|(_, (a, b))| a != b);
    Err(Stop::Failed(match differences.next() {
        Some((offset, (expected, found))) => format!(
            "{} bytes differ, at {offset:#x} {found:#04x} instead of {expected:#04x}",
            1 + differences.count()
        ),
        None => format!("{} bytes instead of {}", found.len(), expected.len()),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pattern_depends_on_the_seed_and_not_on_the_length() {
        assert_eq!(pattern(7, 11), pattern(7, 64)[..11]);
        assert_ne!(pattern(7, 64), pattern(8, 64));
        assert_ne!(pattern(0, 16)[..8], pattern(0, 16)[8..]);
    }

    #[test]
    fn difference_is_told_with_its_place_and_size() {
        assert_eq!(compare(&[1, 2, 3], &[1, 2, 3]), Ok(()));
        let error = compare(&[1, 2, 3, 4], &[1, 9, 3, 9]).unwrap_err();
        assert_eq!(
            error,
            Stop::Failed("2 bytes differ, at 0x1 0x09 instead of 0x02".into())
        );
    }
}
