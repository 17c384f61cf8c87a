//! Sizes in bytes as a user writes them.

use thiserror::Error;

/// Why a size is not one.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SizeError {
    /// Not a number with an optional unit.
    #[error("not a size: write a number of bytes or a number with K, M, G or T")]
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
    fn other_text_is_refused() {
        for text in ["", "G", "-1", "1.5G", "1GiB", "M1", "€"] {
            assert_eq!(parse(text), Err(SizeError::Syntax), "{text}");
        }
        assert_eq!(parse("99999999T"), Err(SizeError::TooLarge));
    }
}
