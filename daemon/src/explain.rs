//! Errors for people.

use std::error::Error;

/// The error and its causes in one line.
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
    use crate::vhost_user::back_channel::BackChannelError;

    #[test]
    fn causes_follow_in_order() {
        let error = BackChannelError::Broken(std::io::Error::other("odd length"));
        assert_eq!(one_line(&error), "back channel is broken: odd length");
    }
}
