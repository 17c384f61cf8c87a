//! SplitMix64: numbers that look random and are the same everywhere.

/// A generator; equal seeds give equal sequences.
#[derive(Clone, Debug)]
pub struct SplitMix64(u64);

/// The step between two states, the golden ratio as a 64-bit fraction.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

impl SplitMix64 {
    /// Starts a sequence.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn next_word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        mix(self.0)
    }

    /// The next number below a bound, which must not be zero.
    pub fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).unwrap_or(u64::MAX);
        usize::try_from(self.next_word() % bound).unwrap_or(0)
    }
}

/// Spreads a number over all 64 bits, one to one.
#[must_use]
pub fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::SplitMix64;

    #[test]
    fn next_word_from_seed_zero_gives_the_reference_sequence() {
        let mut numbers = SplitMix64::new(0);
        assert_eq!(numbers.next_word(), 0xe220_a839_7b1d_cdaf);
        assert_eq!(numbers.next_word(), 0x6e78_9e6a_a1b9_65f4);
    }

    #[test]
    fn below_stays_below() {
        let mut numbers = SplitMix64::new(1);
        assert!((0..1000).all(|_| numbers.below(7) < 7));
    }
}
