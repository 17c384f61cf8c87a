//! What a caller knows about a device before a check.

use super::error::CheckError;

/// Whether the device should offer what is checked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Expectation {
    /// It is offered.
    Offered,
    /// It is not, and the driver says so.
    Hidden,
}

impl Expectation {
    /// Compares with what the driver says.
    pub fn check(self, what: &'static str, offered: bool) -> Result<(), CheckError> {
        if (self == Self::Offered) == offered {
            Ok(())
        } else {
            Err(CheckError::Unexpected { what, offered })
        }
    }
}
