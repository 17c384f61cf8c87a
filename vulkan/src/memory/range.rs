//! Ranges of memory.

use std::ops::Range;

use crate::memory::AccessError;

/// Checks that `range` is one of memory of `size` bytes.
///
/// # Errors
/// [`AccessError::OutOfRange`].
pub fn check(range: &Range<u64>, size: u64) -> Result<(), AccessError> {
    if range.start > range.end || range.end > size {
        return Err(AccessError::OutOfRange {
            start: range.start,
            end: range.end,
            size,
        });
    }
    Ok(())
}

/// Widens a checked range to multiples of `atom`, but not past the end of the memory object, as
/// vkFlushMappedMemoryRanges wants it (VUID-VkMappedMemoryRange-offset-00687,
/// VUID-VkMappedMemoryRange-size-01390, VUID-VkMappedMemoryRange-size-00685).
pub fn widen(range: &Range<u64>, atom: u64, end_of_memory: u64) -> Range<u64> {
    let start = range.start - range.start % atom;
    let end = range
        .end
        .checked_next_multiple_of(atom)
        .unwrap_or(end_of_memory);
    start..end.min(end_of_memory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_ranges_are_widened_to_atoms() {
        assert_eq!(widen(&(0..1), 64, 4096), 0..64);
        assert_eq!(widen(&(63..65), 64, 4096), 0..128);
        assert_eq!(widen(&(64..128), 64, 4096), 64..128);
        assert_eq!(widen(&(100..101), 1, 4096), 100..101);
    }

    #[test]
    fn widening_stops_at_the_end_of_the_memory() {
        assert_eq!(widen(&(4090..4100), 64, 4100), 4032..4100);
        assert_eq!(
            widen(&(u64::MAX - 5..u64::MAX), 64, u64::MAX),
            u64::MAX - 63..u64::MAX
        );
    }

    #[test]
    #[expect(clippy::reversed_empty_ranges, reason = "a caller's mistake")]
    fn ranges_outside_are_refused() {
        assert_eq!(check(&(0..4096), 4096), Ok(()));
        assert_eq!(check(&(4096..4096), 4096), Ok(()));
        for range in [0..4097, 4097..4097, 8..4, u64::MAX..u64::MAX] {
            assert!(matches!(
                check(&range, 4096),
                Err(AccessError::OutOfRange { .. })
            ));
        }
    }
}
