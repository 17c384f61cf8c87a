//! The header that starts every message.

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, FromZeros};

use super::status::Status;
use crate::layout::wire;

/// Set in the kind of a reply, beside the kind of its request.
pub const REPLY: u32 = 0x1000;

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Kind {
    /// Agrees on a version and on capabilities; the first request of a connection.
    Hello = 1,
    /// Lists blobs, a page at a time.
    List = 2,
    /// Turns events about blobs on and off.
    Watch = 3,
    /// Hands out a blob's file and says what it is.
    Open = 4,
    /// Gives a blob back.
    Close = 5,
    /// Begins an access.
    Begin = 6,
    /// Ends an access.
    End = 7,
    /// Lists who maps a blob, and how.
    Describe = 8,
    /// Hands out a sync file of the work on a blob.
    ExportFence = 9,
    /// Makes work on a blob wait for a sync file.
    ImportFence = 10,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 10] = [
        Self::Hello,
        Self::List,
        Self::Watch,
        Self::Open,
        Self::Close,
        Self::Begin,
        Self::End,
        Self::Describe,
        Self::ExportFence,
        Self::ImportFence,
    ];

    /// The word in a request.
    pub fn to_wire(self) -> u32 {
        self as u32
    }

    /// The kind of a request's word.
    pub fn from_wire(value: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u32 == value)
    }
}

wire! {
    /// The header. `status` and `detail` are 0 in requests and events, `tag` is 0 in events only.
    Header, 16 { kind: U32, tag: U32, status: U32, detail: U32, }
}

impl Header {
    /// Bytes of a header.
    pub const LEN: usize = size_of::<Self>();

    /// The header of a request.
    pub fn request(kind: Kind, tag: u32) -> Self {
        Self {
            kind: kind.to_wire().into(),
            tag: tag.into(),
            ..Self::new_zeroed()
        }
    }

    /// The header of the reply to a request with this header. What `detail` means depends on
    /// `status`.
    #[must_use]
    pub fn reply(&self, status: Status, detail: u32) -> Self {
        Self {
            kind: (self.kind.get() | REPLY).into(),
            tag: self.tag,
            status: status.to_wire().into(),
            detail: detail.into(),
        }
    }

    /// The header of `message` and what is behind it, or `None` if it is too short.
    pub fn split(message: &[u8]) -> Option<(Self, &[u8])> {
        Self::read_from_prefix(message).ok()
    }

    /// Whether this is the header of a reply to a request of this kind.
    pub fn is_reply_to(&self, kind: Kind) -> bool {
        self.kind.get() == kind.to_wire() | REPLY
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::IntoBytes;

    #[test]
    fn kinds_are_found_by_their_words() {
        for kind in Kind::ALL {
            assert_eq!(Kind::from_wire(kind.to_wire()), Some(kind));
        }
        for word in [0, 11, REPLY, REPLY | 1, u32::MAX] {
            assert_eq!(Kind::from_wire(word), None);
        }
    }

    #[test]
    fn reply_has_the_kind_and_tag_of_its_request() {
        let reply = Header::request(Kind::Begin, 7).reply(Status::TimedOut, 0);
        assert!(reply.is_reply_to(Kind::Begin));
        assert!(!reply.is_reply_to(Kind::End));
        assert_eq!(reply.tag.get(), 7);
        assert_eq!(reply.as_bytes()[..4], [6, 0x10, 0, 0]);
    }

    #[test]
    fn message_shorter_than_a_header_has_none() {
        assert!(Header::split(&[0; 15]).is_none());
        let (_, rest) = Header::split(&[0; 17]).unwrap();
        assert_eq!(rest.len(), 1);
    }
}
