//! Errors for people.

use std::error::Error;

/// The error and its causes in one line.
#[must_use]
pub fn one_line(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line += &format!(": {error}");
        cause = error.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::GuestError;

    #[test]
    fn causes_follow_in_order() {
        let source = std::io::Error::other("odd length");
        assert_eq!(
            one_line(&GuestError::Shader(source)),
            "A shader module cannot be read: odd length"
        );
    }
}
