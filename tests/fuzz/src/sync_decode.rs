//! The sync protocol: decoding of requests by the server, of replies and events by the peer.

use coherd_protocol::sync::reply::{self, Call};
use coherd_protocol::sync::request::DETAIL_FILES;
use coherd_protocol::sync::wire::{
    Begin, Close, Describe, End, ExportFence, Hello, ImportFence, List, Open, Watch,
};
use coherd_protocol::sync::{
    Event, Header, Kind, MAGIC, Request, RequestError, Status, limits, text,
};
use zerocopy::IntoBytes;

/// See the module's description.
pub fn run(input: &[u8]) {
    for files in 0..=2 {
        request(input, files);
    }
    if let Some((header, body)) = Header::split(input) {
        event(&header, body);
        replies(body);
    }
    name(input);
}

fn request(message: &[u8], files: usize) {
    let decoded = Request::decode(message, files);
    let Some((sent, _)) = Header::split(message) else {
        assert_eq!(decoded.err(), Some(RequestError::NoHeader(message.len())));
        return;
    };
    match decoded {
        Ok((header, request)) => {
            assert_eq!(header, sent);
            assert!(header.tag.get() != 0 && header.status.get() == 0);
            let kind = Kind::from_wire(header.kind.get()).expect("a known kind");
            assert_eq!(files, usize::from(kind == Kind::ImportFence));
            let len = Header::LEN + checked_len(&request);
            assert!(len <= message.len() && message.len() <= limits::MAX_MESSAGE);
            let exact = Request::decode(message.get(..len).unwrap_or_default(), files);
            assert!(exact.is_ok(), "{request:?} is not {len} bytes");
            let short = Request::decode(message.get(..len - 1).unwrap_or_default(), files);
            assert_eq!(refused(&short), (Status::Invalid, len - 1), "{request:?}");
        }
        Err(RequestError::NoHeader(_)) => panic!("there is a header"),
        Err(error @ RequestError::Refused(reply)) => {
            assert_eq!(reply.tag, sent.tag);
            assert_eq!(reply.kind.get(), sent.kind.get() | 0x1000);
            match refused::<()>(&Err(error)) {
                (Status::Invalid, detail) => assert!(
                    detail <= message.len() || detail == DETAIL_FILES as usize,
                    "{detail} is no place in the message"
                ),
                (status, detail) => assert_eq!((status, detail), (Status::UnknownRequest, 0)),
            }
        }
    }
}

fn refused<T>(decoded: &Result<T, RequestError>) -> (Status, usize) {
    let Err(RequestError::Refused(reply)) = decoded else {
        panic!("it was not refused");
    };
    let status = Status::from_wire(reply.status.get());
    (status, reply.detail.get() as usize)
}

/// Bytes of a request's body in the page, which is as it has to be.
fn checked_len(request: &Request<'_>) -> usize {
    match *request {
        Request::Hello(hello) => {
            assert_eq!(hello.magic, MAGIC);
            56
        }
        Request::List(_) => 16,
        Request::Watch(watch) => {
            assert!(watch.enable.get() <= 1);
            8
        }
        Request::Close(_) | Request::End(_) => 8,
        Request::Open(open) => {
            assert_eq!(open.access().bits(), open.access.get());
            assert!(!open.access().is_empty());
            16
        }
        Request::Begin(begin) => {
            assert_eq!(begin.access().bits(), begin.access.get());
            assert!(!begin.access().is_empty());
            40
        }
        Request::Describe(_) => 24,
        Request::ExportFence(fence) => {
            assert!(!fence.access().is_empty());
            16
        }
        Request::ImportFence(fence) => {
            assert!(!fence.access().is_empty());
            16
        }
    }
}

fn event(header: &Header, body: &[u8]) {
    let Some(event) = Event::decode(header, body) else {
        return;
    };
    let mut encoded = vec![0xaa];
    event.encode(&mut encoded);
    let (again, rest) = Header::split(&encoded).expect("an event has a header");
    assert_eq!(again.kind, header.kind);
    assert_eq!((again.tag.get(), again.status.get()), (0, 0));
    assert_eq!(Event::decode(&again, rest), Some(event));
    assert_eq!(Some(rest), body.get(..rest.len()));
}

fn replies(body: &[u8]) {
    fn fixed<C: Call>(body: &[u8]) -> Option<(C::Reply, &[u8])> {
        let decoded = reply::decode::<C>(body).ok();
        let len = size_of::<C::Reply>();
        assert_eq!(decoded.is_some(), body.len() >= len);
        if let Some((_, rest)) = &decoded {
            assert_eq!(rest.len(), body.len() - len);
        }
        decoded
    }
    fixed::<Hello>(body);
    fixed::<Watch>(body);
    fixed::<Open>(body);
    fixed::<Close>(body);
    fixed::<Begin>(body);
    fixed::<End>(body);
    fixed::<ExportFence>(body);
    fixed::<ImportFence>(body);
    if let Some((head, rest)) = fixed::<List>(body)
        && let Ok(entries) = reply::entries(&head, rest)
    {
        assert_eq!(entries.len(), head.count.get() as usize);
        assert!(entries.len() <= limits::MAX_ENTRIES);
        assert_eq!(Some(entries.as_bytes()), rest.get(..size_of_val(entries)));
    }
    if let Some((head, rest)) = fixed::<Describe>(body)
        && let Ok(holders) = reply::holders(&head, rest)
    {
        assert_eq!(holders.len(), head.count.get() as usize);
        assert!(holders.len() <= limits::MAX_HOLDERS);
        assert_eq!(Some(holders.as_bytes()), rest.get(..size_of_val(holders)));
    }
}

fn name(input: &[u8]) {
    let mut bytes = [0; limits::NAME_LEN];
    for (to, from) in bytes.iter_mut().zip(input) {
        *to = *from;
    }
    let decoded = text::decode(&bytes);
    assert!(!decoded.contains(char::is_control), "{decoded:?}");
    // What was printed can be sent again, cut between characters.
    assert!(decoded.starts_with(&text::decode(&text::encode(&decoded))));
}
