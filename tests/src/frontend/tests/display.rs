//! The display socket as a backend sees it.

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use crate::frontend::Deadline;
use crate::frontend::display::{Display, Shown};
use crate::frontend::log::{Event, Log};
use crate::frontend::message::{self, Header, Incoming, u32_at, words};

const PATIENCE: Duration = Duration::from_secs(10);

fn say(backend: &UnixStream, request: u32, payload: &[u8]) {
    let header = Header {
        request,
        flags: 0,
        size: u32::try_from(payload.len()).unwrap(),
    };
    let bytes = [header.to_bytes().as_slice(), payload].concat();
    message::send(backend, &bytes, &[], Deadline::after(PATIENCE)).unwrap();
}

fn reply(backend: &UnixStream) -> (Header, Vec<u8>) {
    let deadline = Deadline::after(PATIENCE);
    let mut incoming = Incoming::default();
    incoming.receive(backend, Header::LEN, deadline).unwrap();
    let header = incoming.header().unwrap();
    let total = Header::LEN + header.size as usize;
    incoming.receive(backend, total, deadline).unwrap();
    (header, incoming.into_parts().0)
}

#[test]
fn questions_are_answered_as_qemu_does() {
    let mut display = Display::new(Arc::default());
    let backend = display.plug().unwrap();

    for (request, question, code, len) in [
        (1, vec![], 3, 8),
        (3, vec![], 0x1101, 408),
        (11, words(&[0]), 0x1104, 1056),
    ] {
        say(&backend, request, &question);
        let (header, payload) = reply(&backend);
        assert_eq!((header.request, header.flags), (request, Header::REPLY));
        assert_eq!(u32_at(&payload, 0), Some(code));
        assert_eq!(payload.len(), len);
    }
}

#[test]
fn a_scanout_that_is_not_there_has_no_edid_and_no_answer() {
    let mut display = Display::new(Arc::default());
    let backend = display.plug().unwrap();

    say(&backend, 11, &words(&[1]));
    say(&backend, 1, &[]);

    assert_eq!(reply(&backend).0.request, 1);
}

#[test]
fn what_is_shown_is_logged() {
    let log = Arc::new(Log::default());
    let mut display = Display::new(Arc::clone(&log));
    let backend = display.plug().unwrap();
    let area = [0, 8, 16, 2, 1];
    let pixels = vec![1, 2, 3, 4, 5, 6, 7, 8];

    say(&backend, 8, &[words(&area), pixels.clone()].concat());

    let update = Event::Shown(Shown::Update { area, pixels });
    let seen = log.wait(0, Deadline::after(PATIENCE), |event| *event == update);
    assert!(seen.is_some());
}

#[test]
fn unplugging_hangs_up() {
    let mut display = Display::new(Arc::default());
    let backend = display.plug().unwrap();

    display.unplug();

    let mut incoming = Incoming::default();
    let result = incoming.receive(&backend, 1, Deadline::after(PATIENCE));
    assert_eq!(result, Err(message::MessageError::Closed));
}
