//! Events, which a server sends after WATCH.

use zerocopy::{FromBytes, FromZeros, IntoBytes};

use super::header::Header;
use super::wire::{Destroyed, Entry};

/// The event [`Event::Created`].
pub const CREATED: u32 = 0x2001;
/// The event [`Event::Destroyed`].
pub const DESTROYED: u32 = 0x2002;
/// The event [`Event::Lost`].
pub const LOST: u32 = 0x2003;

/// What happened to a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It was created.
    Created(Entry),
    /// It was destroyed.
    Destroyed(u64),
    /// The peer was too slow, and events are missing here: what blobs there are has to be listed
    /// anew.
    Lost,
}

impl Event {
    /// The word in the header.
    pub fn kind(&self) -> u32 {
        match self {
            Self::Created(_) => CREATED,
            Self::Destroyed(_) => DESTROYED,
            Self::Lost => LOST,
        }
    }

    /// The event in a message with tag 0, or `None` for what is too short or of a later version.
    pub fn decode(header: &Header, body: &[u8]) -> Option<Self> {
        match header.kind.get() {
            CREATED => Entry::read_from_prefix(body)
                .ok()
                .map(|(entry, _rest)| Self::Created(entry)),
            DESTROYED => Destroyed::read_from_prefix(body)
                .ok()
                .map(|(destroyed, _rest)| Self::Destroyed(destroyed.blob.get())),
            LOST => Some(Self::Lost),
            _ => None,
        }
    }

    /// Replaces the contents of `out` by the message.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let header = Header {
            kind: self.kind().into(),
            ..Header::new_zeroed()
        };
        out.clear();
        out.extend_from_slice(header.as_bytes());
        match self {
            Self::Created(entry) => out.extend_from_slice(entry.as_bytes()),
            Self::Destroyed(blob) => {
                let blob = (*blob).into();
                out.extend_from_slice(Destroyed { blob }.as_bytes());
            }
            Self::Lost => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_comes_back_and_is_none_when_cut() {
        let entry = Entry {
            blob: 7.into(),
            ..Entry::new_zeroed()
        };
        for (event, len) in [
            (Event::Created(entry), 48),
            (Event::Destroyed(7), 24),
            (Event::Lost, 16),
        ] {
            let mut message = vec![0xaa; 3];
            event.encode(&mut message);
            assert_eq!(message.len(), len);
            let (header, body) = Header::split(&message).unwrap();
            assert_eq!(header.tag.get(), 0);
            assert_eq!(Event::decode(&header, body), Some(event));
            if let Some(cut) = body.len().checked_sub(1) {
                assert_eq!(Event::decode(&header, &body[..cut]), None);
            }
        }
    }

    #[test]
    fn event_of_a_later_version_is_none() {
        let header = Header {
            kind: 0x2004.into(),
            ..Header::new_zeroed()
        };
        assert_eq!(Event::decode(&header, &[0; 64]), None);
    }
}
