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
    use crate::fuzz::FuzzError;

    #[test]
    fn causes_follow_in_order() {
        let error = FuzzError::Io {
            action: "write".to_owned(),
            source: std::io::Error::other("no disk"),
        };
        assert_eq!(one_line(&error), "cannot write: no disk");
    }
}
