//! Decoding of requests, as a server does it.
//!
//! Only the message is looked at: what the blob, the peer and the server allow is the server's
//! concern.

use std::mem::offset_of;

use thiserror::Error;
use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::MAGIC;
use super::header::{Header, Kind};
use super::limits::MAX_MESSAGE;
use super::status::Status;
use super::wire::{
    Begin, Close, Describe, End, ExportFence, Hello, ImportFence, List, Open, Watch,
};
use crate::memory::Access;

/// The `detail` of a request that came with a wrong number of files.
pub const DETAIL_FILES: u32 = u32::MAX;

/// Why a message is not a request that can be carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RequestError {
    /// The message is too short to be answered: the connection has to be closed.
    #[error("message of {0} bytes has no header")]
    NoHeader(usize),
    /// The request has to be answered with this header and nothing else.
    #[error("request was refused at byte {}", .0.detail)]
    Refused(Header),
}

/// A request, viewed in the buffer it was received in.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "named as in the format's page")]
pub enum Request<'a> {
    Hello(&'a Hello),
    List(&'a List),
    Watch(&'a Watch),
    Open(&'a Open),
    Close(&'a Close),
    Begin(&'a Begin),
    End(&'a End),
    Describe(&'a Describe),
    ExportFence(&'a ExportFence),
    ImportFence(&'a ImportFence),
}

/// The place in a message that is wrong.
struct Wrong(u32);

impl<'a> Request<'a> {
    /// Decodes a message that came with so many files. Bytes behind a request's own are ignored:
    /// a later version may append.
    ///
    /// # Errors
    /// See [`RequestError`]; for [`Status::Invalid`] the `detail` is the offset of the first wrong
    /// byte, or [`DETAIL_FILES`].
    pub fn decode(message: &'a [u8], files: usize) -> Result<(Header, Self), RequestError> {
        let (header, body) = Header::split(message).ok_or(RequestError::NoHeader(message.len()))?;
        let refused = |status, detail| RequestError::Refused(header.reply(status, detail));
        let invalid = |Wrong(detail)| refused(Status::Invalid, detail);
        check_header(&header, message.len()).map_err(invalid)?;
        let Some(kind) = Kind::from_wire(header.kind.get()) else {
            return Err(refused(Status::UnknownRequest, 0));
        };
        if files != usize::from(kind == Kind::ImportFence) {
            return Err(invalid(Wrong(DETAIL_FILES)));
        }
        let request = Self::of_kind(kind, body).map_err(invalid)?;
        request.check().map_err(invalid)?;
        Ok((header, request))
    }

    fn of_kind(kind: Kind, body: &'a [u8]) -> Result<Self, Wrong> {
        Ok(match kind {
            Kind::Hello => Self::Hello(fixed(body)?),
            Kind::List => Self::List(fixed(body)?),
            Kind::Watch => Self::Watch(fixed(body)?),
            Kind::Open => Self::Open(fixed(body)?),
            Kind::Close => Self::Close(fixed(body)?),
            Kind::Begin => Self::Begin(fixed(body)?),
            Kind::End => Self::End(fixed(body)?),
            Kind::Describe => Self::Describe(fixed(body)?),
            Kind::ExportFence => Self::ExportFence(fixed(body)?),
            Kind::ImportFence => Self::ImportFence(fixed(body)?),
        })
    }

    fn check(&self) -> Result<(), Wrong> {
        match *self {
            Self::Hello(hello) => {
                ensure(hello.magic == MAGIC, offset_of!(Hello, magic))?;
                zero(hello.reserved, offset_of!(Hello, reserved))
            }
            Self::List(list) => zero(list.reserved, offset_of!(List, reserved)),
            Self::Watch(watch) => {
                ensure(watch.enable.get() <= 1, offset_of!(Watch, enable))?;
                zero(watch.reserved, offset_of!(Watch, reserved))
            }
            Self::Open(open) => {
                check_access(open.access, offset_of!(Open, access))?;
                zero(open.reserved, offset_of!(Open, reserved))
            }
            Self::Begin(begin) => check_access(begin.access, offset_of!(Begin, access)),
            Self::Describe(describe) => zero(describe.reserved, offset_of!(Describe, reserved)),
            Self::ExportFence(fence) => {
                check_access(fence.access, offset_of!(ExportFence, access))?;
                zero(fence.reserved, offset_of!(ExportFence, reserved))
            }
            Self::ImportFence(fence) => {
                check_access(fence.access, offset_of!(ImportFence, access))?;
                zero(fence.reserved, offset_of!(ImportFence, reserved))
            }
            Self::Close(_) | Self::End(_) => Ok(()),
        }
    }
}

fn check_header(header: &Header, len: usize) -> Result<(), Wrong> {
    if len > MAX_MESSAGE {
        return Err(Wrong(u32::try_from(MAX_MESSAGE).unwrap_or(u32::MAX)));
    }
    let in_header = |offset: usize| Wrong(u32::try_from(offset).unwrap_or(u32::MAX));
    if header.tag.get() == 0 {
        return Err(in_header(offset_of!(Header, tag)));
    }
    if header.status.get() != 0 {
        return Err(in_header(offset_of!(Header, status)));
    }
    if header.detail.get() != 0 {
        return Err(in_header(offset_of!(Header, detail)));
    }
    Ok(())
}

/// The body of a fixed length; where it ends early the end is what is wrong.
fn fixed<T>(body: &[u8]) -> Result<&T, Wrong>
where
    T: FromBytes + KnownLayout + Immutable + Unaligned,
{
    T::ref_from_prefix(body)
        .map(|(fixed, _rest)| fixed)
        .map_err(|_| wrong(body.len()))
}

fn check_access(word: U32, offset: usize) -> Result<(), Wrong> {
    let access = Access::from_bits(word.get());
    ensure(access.is_some_and(|access| !access.is_empty()), offset)
}

fn zero(word: U32, offset: usize) -> Result<(), Wrong> {
    ensure(word.get() == 0, offset)
}

fn ensure(condition: bool, offset: usize) -> Result<(), Wrong> {
    if condition {
        Ok(())
    } else {
        Err(wrong(offset))
    }
}

/// The place `offset` bytes behind the header.
fn wrong(offset: usize) -> Wrong {
    Wrong(u32::try_from(Header::LEN.saturating_add(offset)).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::{FromZeros, IntoBytes};

    /// Kind and length of each request, as in the page.
    const SIZES: [(Kind, usize); 10] = [
        (Kind::Hello, 72),
        (Kind::List, 32),
        (Kind::Watch, 24),
        (Kind::Open, 32),
        (Kind::Close, 24),
        (Kind::Begin, 56),
        (Kind::End, 24),
        (Kind::Describe, 40),
        (Kind::ExportFence, 32),
        (Kind::ImportFence, 32),
    ];

    /// A request that is right, but for blobs and brackets.
    fn request(kind: Kind) -> Vec<u8> {
        let access = U32::new(3);
        let body = match kind {
            Kind::Hello => Hello {
                magic: MAGIC,
                ..Hello::new_zeroed()
            }
            .as_bytes()
            .to_vec(),
            Kind::List => vec![0; 16],
            Kind::Watch | Kind::Close | Kind::End => vec![0; 8],
            Kind::Begin => Begin {
                access,
                ..Begin::new_zeroed()
            }
            .as_bytes()
            .to_vec(),
            Kind::Describe => vec![0; 24],
            Kind::Open | Kind::ExportFence | Kind::ImportFence => Open {
                access,
                ..Open::new_zeroed()
            }
            .as_bytes()
            .to_vec(),
        };
        [Header::request(kind, 5).as_bytes(), &body].concat()
    }

    fn files(kind: Kind) -> usize {
        usize::from(kind == Kind::ImportFence)
    }

    /// Status and detail of the answer.
    fn refusal(message: &[u8], files: usize) -> (Status, u32) {
        match Request::decode(message, files) {
            Err(RequestError::Refused(reply)) => {
                (Status::from_wire(reply.status.get()), reply.detail.get())
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_request_decodes_at_its_length_and_is_invalid_at_every_shorter_one() {
        for (kind, len) in SIZES {
            let message = request(kind);
            assert_eq!(message.len(), len);
            let (header, _) = Request::decode(&message, files(kind)).unwrap();
            assert_eq!(header.kind.get(), kind.to_wire());
            for short in Header::LEN..len {
                let end = u32::try_from(short).unwrap();
                let refused = refusal(&message[..short], files(kind));
                assert_eq!(refused, (Status::Invalid, end), "{kind:?}");
            }
        }
    }

    #[test]
    fn bytes_of_a_later_version_are_ignored() {
        for (kind, _) in SIZES {
            let mut message = request(kind);
            message.resize(MAX_MESSAGE, 0xaa);
            assert!(Request::decode(&message, files(kind)).is_ok());
            message.push(0);
            assert_eq!(refusal(&message, files(kind)), (Status::Invalid, 4096));
        }
    }

    #[test]
    fn message_without_a_header_cannot_be_answered() {
        for len in 0..Header::LEN {
            let error = Request::decode(&[0; 16][..len], 0).unwrap_err();
            assert_eq!(error, RequestError::NoHeader(len));
        }
    }

    #[test]
    fn header_of_anything_but_a_request_is_invalid() {
        for (offset, value) in [(4, 0), (8, 1), (12, 1)] {
            let mut message = request(Kind::List);
            message[offset] = value;
            let place = u32::try_from(offset).unwrap();
            assert_eq!(refusal(&message, 0), (Status::Invalid, place));
        }
    }

    #[test]
    fn unknown_kind_is_answered_as_such() {
        for kind in [0, 11, 0xff] {
            let mut message = request(Kind::List);
            message[0] = kind;
            assert_eq!(refusal(&message, 0), (Status::UnknownRequest, 0));
        }
    }

    #[test]
    fn reserved_fields_have_to_be_zero() {
        let places = [
            (Kind::Hello, 28),
            (Kind::List, 28),
            (Kind::Watch, 20),
            (Kind::Open, 28),
            (Kind::Describe, 36),
            (Kind::ExportFence, 28),
            (Kind::ImportFence, 28),
        ];
        for (kind, place) in places {
            let mut message = request(kind);
            message[place] = 1;
            let place = u32::try_from(place).unwrap();
            assert_eq!(refusal(&message, files(kind)), (Status::Invalid, place));
        }
    }

    #[test]
    fn access_has_a_known_bit_and_no_other() {
        let places = [
            (Kind::Open, 24),
            (Kind::Begin, 48),
            (Kind::ExportFence, 24),
            (Kind::ImportFence, 24),
        ];
        for (kind, place) in places {
            for (access, right) in [(0, false), (1, true), (2, true), (3, true), (5, false)] {
                let mut message = request(kind);
                message[place] = access;
                let decoded = Request::decode(&message, files(kind));
                assert_eq!(decoded.is_ok(), right, "{kind:?} {access}");
            }
        }
    }

    #[test]
    fn hello_of_another_protocol_is_invalid() {
        let mut message = request(Kind::Hello);
        message[16] = b'c';
        assert_eq!(refusal(&message, 0), (Status::Invalid, 16));
    }

    #[test]
    fn files_come_with_import_fence_only() {
        for (kind, _) in SIZES {
            let wrong = 1 - files(kind);
            let refused = refusal(&request(kind), wrong);
            assert_eq!(refused, (Status::Invalid, DETAIL_FILES), "{kind:?}");
        }
    }
}
