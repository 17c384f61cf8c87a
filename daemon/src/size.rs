//! Sizes in bytes as a user writes them.

use thiserror::Error;

/// Why a size is not one.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SizeError {
    /// Not a number with an optional unit.
    #[error("not a number, nor a number with K, M, G or T behind it")]
    Syntax,
    /// Over 64 bits.
    #[error("too large")]
    TooLarge,
}

/// Parses a number of bytes with an optional suffix K, M, G or T (powers of 1024).
///
/// # Errors
/// See [`SizeError`].
pub fn parse(text: &str) -> Result<u64, SizeError> {
    let (digits, unit) = match text.char_indices().last() {
        Some((end, 'K' | 'k')) => (text.get(..end), 1u64 << 10),
        Some((end, 'M' | 'm')) => (text.get(..end), 1 << 20),
        Some((end, 'G' | 'g')) => (text.get(..end), 1 << 30),
        Some((end, 'T' | 't')) => (text.get(..end), 1 << 40),
        _ => (Some(text), 1),
    };
    let number: u64 = digits
        .and_then(|digits| digits.parse().ok())
        .ok_or(SizeError::Syntax)?;
    number.checked_mul(unit).ok_or(SizeError::TooLarge)
}

/// Writes a number as [`parse`] reads it, with the largest suffix that leaves it whole.
pub fn format(number: u64) -> String {
    let units = [
        (1u64 << 40, "T"),
        (1 << 30, "G"),
        (1 << 20, "M"),
        (1 << 10, "K"),
    ];
    match units
        .into_iter()
        .find(|(unit, _)| number >= *unit && number.is_multiple_of(*unit))
    {
        Some((unit, suffix)) => format!("{}{suffix}", number / unit),
        None => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_powers_of_1024() {
        assert_eq!(parse("4096"), Ok(4096));
        assert_eq!(parse("256M"), Ok(256 << 20));
        assert_eq!(parse("8g"), Ok(8 << 30));
    }

    #[test]
    fn numbers_are_written_as_they_are_read() {
        for (number, text) in [(0, "0"), (480, "480"), (1536, "1536"), (16 << 30, "16G")] {
            assert_eq!(format(number), text);
            assert_eq!(parse(text), Ok(number));
        }
    }

    #[test]
    fn other_text_is_refused() {
        for text in ["", "G", "-1", "1.5G", "1GiB", "M1", "€"] {
            assert_eq!(parse(text), Err(SizeError::Syntax), "{text}");
        }
        assert_eq!(parse("99999999T"), Err(SizeError::TooLarge));
    }
}
