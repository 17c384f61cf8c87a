//! Which reply belongs to a request, and decoding of replies, as a peer does it.

use thiserror::Error;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::header::Kind;
use super::limits::{MAX_ENTRIES, MAX_HOLDERS};
use super::wire::{
    Begin, Close, Describe, Described, End, Entry, ExportFence, Hello, Holder, ImportFence, List,
    ListHead, Open, Opened, Watch, Welcome,
};

/// A request's body, with what belongs to it.
pub trait Call: IntoBytes + Immutable {
    /// The request.
    const KIND: Kind;
    /// The fixed part of its reply.
    type Reply: FromBytes + KnownLayout + Immutable + Unaligned + Copy;
}

macro_rules! calls {
    ($($body:ident => $reply:ty,)*) => {
        $(
            impl Call for $body {
                const KIND: Kind = Kind::$body;
                type Reply = $reply;
            }
        )*
    };
}

calls! {
    Hello => Welcome,
    List => ListHead,
    Watch => (),
    Open => Opened,
    Close => (),
    Begin => (),
    End => (),
    Describe => Described,
    ExportFence => (),
    ImportFence => (),
}

/// Why a reply cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ReplyError {
    /// It ends before what belongs to it.
    #[error("reply ends after {0} bytes")]
    Truncated(usize),
    /// It says that it has more elements than a message can have.
    #[error("reply claims {0} elements")]
    TooMany(u32),
}

/// The fixed part of the reply to a request `C`, and what is behind it. `body` is the message without its
/// header; bytes of later versions are behind.
///
/// # Errors
/// [`ReplyError::Truncated`]
pub fn decode<C: Call>(body: &[u8]) -> Result<(C::Reply, &[u8]), ReplyError> {
    C::Reply::read_from_prefix(body).map_err(|_| ReplyError::Truncated(body.len()))
}

/// The blobs behind the fixed part of a reply to LIST.
///
/// # Errors
/// See [`ReplyError`].
pub fn entries<'a>(head: &ListHead, rest: &'a [u8]) -> Result<&'a [Entry], ReplyError> {
    elements(head.count.get(), MAX_ENTRIES, rest)
}

/// The holders behind the fixed part of a reply to DESCRIBE.
///
/// # Errors
/// See [`ReplyError`].
pub fn holders<'a>(head: &Described, rest: &'a [u8]) -> Result<&'a [Holder], ReplyError> {
    elements(head.count.get(), MAX_HOLDERS, rest)
}

fn elements<T>(count: u32, most: usize, rest: &[u8]) -> Result<&[T], ReplyError>
where
    T: FromBytes + KnownLayout + Immutable + Unaligned,
{
    let elements = usize::try_from(count)
        .ok()
        .filter(|elements| *elements <= most)
        .ok_or(ReplyError::TooMany(count))?;
    <[T]>::ref_from_prefix_with_elems(rest, elements)
        .map(|(elements, _rest)| elements)
        .map_err(|_| ReplyError::Truncated(rest.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::FromZeros;

    fn list_of(count: u32) -> ListHead {
        ListHead {
            count: count.into(),
            ..ListHead::new_zeroed()
        }
    }

    #[test]
    fn replies_have_the_sizes_of_the_page() {
        fn size<C: Call>() -> usize {
            size_of::<C::Reply>()
        }
        assert_eq!(size::<Hello>(), 96);
        assert_eq!(size::<List>(), 16);
        assert_eq!(size::<Open>(), 248);
        assert_eq!(size::<Describe>(), 64);
        for nothing in [
            size::<Watch>(),
            size::<Close>(),
            size::<Begin>(),
            size::<End>(),
        ] {
            assert_eq!(nothing, 0);
        }
    }

    #[test]
    fn full_page_fits_a_message() {
        assert_eq!(MAX_ENTRIES, 127);
        assert_eq!(MAX_HOLDERS, 62);
    }

    #[test]
    fn short_reply_is_truncated() {
        let short = decode::<Open>(&[0; 247]).unwrap_err();
        assert_eq!(short, ReplyError::Truncated(247));
        assert!(decode::<Open>(&[0; 248]).is_ok());
        assert!(decode::<End>(&[]).is_ok());
    }

    #[test]
    fn elements_have_to_be_there() {
        assert_eq!(entries(&list_of(2), &[0; 64]).unwrap().len(), 2);
        let short = entries(&list_of(2), &[0; 63]).unwrap_err();
        assert_eq!(short, ReplyError::Truncated(63));
    }

    #[test]
    fn more_elements_than_a_message_has_room_for_are_refused() {
        for count in [128, u32::MAX] {
            let error = entries(&list_of(count), &[0; 8192]).unwrap_err();
            assert_eq!(error, ReplyError::TooMany(count));
        }
    }
}
