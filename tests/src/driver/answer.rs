//! What the device answered.

use coherd_protocol::gpu::header::{Fence, Header};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::error::DriverError;

/// Codes from here on are errors.
const FIRST_ERROR: u32 = 0x1200;

/// What the device answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The command code of the request.
    pub command: u32,
    /// The bytes the device says it wrote, as far as there is room for them.
    pub bytes: Vec<u8>,
    /// How many bytes the device says it wrote.
    pub used: u32,
    /// Position among all answers of the driver, from 0.
    pub position: u64,
}

impl Answer {
    /// The header, if there is one.
    pub fn header(&self) -> Option<Header> {
        Header::read_from_prefix(&self.bytes)
            .ok()
            .map(|(header, _rest)| header)
    }

    /// The response code, zero if there is none.
    pub fn code(&self) -> u32 {
        self.header().map_or(0, |header| header.kind.get())
    }

    /// The fence it carries, if any.
    pub fn fence(&self) -> Option<Fence> {
        self.header()?.fence()
    }

    /// The bytes after the header.
    pub fn body(&self) -> &[u8] {
        self.bytes.get(Header::LEN..).unwrap_or_default()
    }

    /// The structure after the header.
    ///
    /// # Errors
    /// [`DriverError::BadAnswer`] if the answer is too short.
    pub fn parse<T>(&self) -> Result<T, DriverError>
    where
        T: FromBytes + KnownLayout + Immutable + Unaligned,
    {
        T::read_from_prefix(self.body())
            .map(|(value, _rest)| value)
            .map_err(|_| self.bad())
    }

    /// Fails unless the response code is `code`.
    ///
    /// # Errors
    /// [`DriverError::Refused`] and [`DriverError::BadAnswer`].
    pub fn expect_code(self, code: u32) -> Result<Self, DriverError> {
        match self.code() {
            got if got == code => Ok(self),
            got if got >= FIRST_ERROR => Err(DriverError::Refused {
                command: self.command,
                code: got,
            }),
            _ => Err(self.bad()),
        }
    }

    fn bad(&self) -> DriverError {
        DriverError::BadAnswer {
            command: self.command,
            code: self.code(),
            len: self.bytes.len(),
        }
    }
}
