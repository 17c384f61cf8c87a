//! The command stream: what SUBMIT_3D carries.

use thiserror::Error;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::command::{Head, NO_REPLY};

/// Why a stream is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "command {index} at byte {offset} has a size of {size}, which is too small, not a multiple of 8 or past the end"
)]
pub struct StreamError {
    /// Number of the command, from 0.
    pub index: usize,
    /// Where it begins.
    pub offset: usize,
    /// Its size, or what is left of the stream where there is no room for a head.
    pub size: usize,
}

/// A command that has not been decoded.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Its head.
    pub head: &'a Head,
    /// What follows the head.
    pub body: &'a [u8],
}

impl Request<'_> {
    /// Where the reply goes in the reply buffer, if one is wanted.
    pub fn reply_offset(&self) -> Option<u32> {
        Some(self.head.reply_offset.get()).filter(|offset| *offset != NO_REPLY)
    }
}

/// A stream in which every command's size has been checked.
#[derive(Clone, Copy, Debug)]
pub struct Stream<'a> {
    rest: &'a [u8],
}

impl<'a> Stream<'a> {
    /// Takes `bytes` as a stream.
    ///
    /// # Errors
    /// [`StreamError`] for the first command whose size is wrong; none may be executed then.
    pub fn new(bytes: &'a [u8]) -> Result<Self, StreamError> {
        let mut offset = 0;
        let mut index = 0;
        while let Some(rest) = bytes.get(offset..).filter(|rest| !rest.is_empty()) {
            let size = Head::ref_from_prefix(rest).map_or(rest.len(), |(head, _)| {
                usize::try_from(head.size.get()).unwrap_or(usize::MAX)
            });
            if size < size_of::<Head>() || !size.is_multiple_of(8) || size > rest.len() {
                return Err(StreamError {
                    index,
                    offset,
                    size,
                });
            }
            offset += size;
            index += 1;
        }
        Ok(Self { rest: bytes })
    }
}

impl<'a> Iterator for Stream<'a> {
    type Item = Request<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let (head, _) = Head::ref_from_prefix(self.rest).ok()?;
        let size = usize::try_from(head.size.get()).ok()?;
        let (command, rest) = self.rest.split_at_checked(size)?;
        self.rest = rest;
        Some(Request {
            head,
            body: command.get(size_of::<Head>()..)?,
        })
    }
}

/// Puts a stream together, for guests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamBuilder {
    bytes: Vec<u8>,
}

impl StreamBuilder {
    /// Appends a command with its fixed part, and an array behind it where it has one.
    /// `reply_offset` is where the reply goes, [`NO_REPLY`] for none; `sequence` comes back with it.
    pub fn push<T, U>(
        &mut self,
        opcode: u32,
        (reply_offset, sequence): (u32, u32),
        fixed: &T,
        array: &[U],
    ) -> &mut Self
    where
        T: IntoBytes + Immutable,
        U: IntoBytes + Immutable,
    {
        let size = size_of::<Head>() + size_of::<T>() + size_of_val(array);
        let padded = size.next_multiple_of(8);
        let head = Head {
            opcode: opcode.into(),
            size: u32::try_from(padded).unwrap_or(u32::MAX).into(),
            reply_offset: reply_offset.into(),
            sequence: sequence.into(),
        };
        self.bytes.extend_from_slice(head.as_bytes());
        self.bytes.extend_from_slice(fixed.as_bytes());
        self.bytes.extend_from_slice(array.as_bytes());
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
        self
    }

    /// The stream, a multiple of 8 bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob_context::command::{self, Command, opcode};
    use crate::blob_context::limits::MAX_MODIFIERS;
    use crate::blob_context::reply::Status;
    use zerocopy::FromZeros;
    use zerocopy::little_endian::U64;

    fn fill() -> command::Fill {
        command::Fill {
            resource_id: 7.into(),
            value: 0x5a5a_5a5a.into(),
            offset: 0.into(),
            size: 4096.into(),
        }
    }

    fn image(modifiers: u32) -> command::Image {
        command::Image {
            modifier_count: modifiers.into(),
            ..command::Image::new_zeroed()
        }
    }

    #[test]
    fn commands_come_out_as_they_went_in() {
        let mut builder = StreamBuilder::default();
        builder
            .push(opcode::FILL, (64, 1), &fill(), &[0u8; 0])
            .push(
                opcode::IMAGE,
                (NO_REPLY, 2),
                &image(2),
                &[U64::new(1), U64::new(2)],
            );

        let requests: Vec<_> = Stream::new(builder.bytes()).unwrap().collect();

        assert_eq!(requests.len(), 2);
        assert_eq!(requests[0].reply_offset(), Some(64));
        assert_eq!(requests[1].reply_offset(), None);
        let decode = |request: &Request<'_>| {
            format!(
                "{:?}",
                Command::decode(request.head.opcode.get(), request.body).unwrap()
            )
        };
        assert_eq!(
            decode(&requests[0]),
            format!("{:?}", Command::Fill(&fill()))
        );
        assert!(decode(&requests[1]).contains("[U64(1), U64(2)]"));
    }

    #[test]
    fn sizes_that_are_wrong_spoil_the_whole_stream() {
        let mut builder = StreamBuilder::default();
        builder.push(opcode::FILL, (0, 1), &fill(), &[0u8; 0]);
        builder.push(opcode::FILL, (0, 2), &fill(), &[0u8; 0]);
        for size in [0u32, 8, 15, 20, 48, u32::MAX] {
            let mut bytes = builder.bytes().to_vec();
            bytes[44..48].copy_from_slice(&size.to_le_bytes());
            let error = Stream::new(&bytes).unwrap_err();
            assert_eq!((error.index, error.offset), (1, 40), "{size}");
        }
        let cut = &builder.bytes()[..builder.bytes().len() - 8];
        assert_eq!(Stream::new(cut).unwrap_err().index, 1);
    }

    #[test]
    fn commands_that_are_too_short_or_unknown_have_a_status() {
        let body = fill();
        let body = body.as_bytes();
        assert_eq!(
            Command::decode(opcode::SYNC, body).unwrap_err(),
            Status::Invalid
        );
        assert_eq!(
            Command::decode(99, body).unwrap_err(),
            Status::UnknownCommand
        );
    }

    #[test]
    fn modifiers_that_are_missing_or_too_many_are_invalid() {
        let one = [image(1).as_bytes(), &[0; 7]].concat();
        assert_eq!(
            Command::decode(opcode::IMAGE, &one).unwrap_err(),
            Status::Invalid
        );
        let many = [image(MAX_MODIFIERS + 1).as_bytes(), &[0; 1024]].concat();
        assert_eq!(
            Command::decode(opcode::IMAGE, &many).unwrap_err(),
            Status::Invalid
        );
        let huge = [image(u32::MAX).as_bytes(), &[0; 1024]].concat();
        assert_eq!(
            Command::decode(opcode::IMAGE, &huge).unwrap_err(),
            Status::Invalid
        );
    }
}
