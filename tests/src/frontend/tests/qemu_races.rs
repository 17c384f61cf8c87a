//! Stops and resets in the middle of a map.

use std::thread;

use super::fake::{Fake, MAP, config, framed, map_payload, page_file, soon};
use crate::frontend::{Event, Fault, Flavour, FrontendError, MessageError, Stage, protocol};

/// Not a request of the protocol: QEMU refuses it without looking at its device.
const HARMLESS: u32 = 0x109;

fn started() -> Fake {
    let fake = Fake::with(config(Flavour::Qemu), !protocol::CONFIGURE_MEM_SLOTS).unwrap();
    fake.frontend.start().unwrap();
    fake
}

#[test]
fn map_while_stopped_kills_qemu() {
    let fake = started();
    fake.frontend.stop().unwrap();

    fake.send(&framed(MAP, &map_payload(0, 4096)), Some(&page_file()));
    let reply = fake.try_reply();

    assert_eq!(reply, Err(MessageError::Closed));
    assert_eq!(
        fake.frontend.fault(),
        Some(Fault::NullDevice { request: MAP })
    );
    assert!(matches!(
        fake.frontend.resume(&[0, 0]),
        Err(FrontendError::Dead(_))
    ));
}

#[test]
fn whole_map_overtaken_by_a_stop_kills_qemu() {
    let fake = started();
    let gate = fake.frontend.gate(Stage::Pending);
    fake.send(&framed(MAP, &map_payload(0, 4096)), Some(&page_file()));
    assert!(gate.wait_held(soon()));

    fake.frontend.stop().unwrap();
    gate.open();

    fake.await_event(0, |event| matches!(event, Event::Fault(_)));
}

#[test]
fn map_retracted_after_a_stop_is_refused_and_can_be_repeated() {
    let fake = started();
    let payload = map_payload(0, 4096);
    let gate = fake.frontend.gate(Stage::Pending);
    fake.send(&framed(MAP, &payload)[..1], Some(&page_file()));
    assert!(gate.wait_held(soon()));

    let bases = fake.frontend.stop().unwrap();
    gate.open();
    fake.send(&framed(HARMLESS, &payload)[1..], None);
    assert_eq!(fake.reply(), 1);
    fake.frontend.resume(&bases).unwrap();

    assert_eq!(fake.map(&page_file(), 0), 0);
    assert_eq!(fake.frontend.fault(), None);
}

#[test]
fn stop_waits_for_a_map_whose_first_byte_was_taken() {
    let fake = started();
    let message = framed(MAP, &map_payload(0, 4096));
    let gate = fake.frontend.gate(Stage::FirstPiece);
    fake.send(&message[..1], Some(&page_file()));
    assert!(gate.wait_held(soon()));

    thread::scope(|scope| {
        let stop = scope.spawn(|| fake.frontend.stop());
        assert!(fake.frontend.wait_contended(soon()));
        gate.open();
        fake.send(&message[1..], None);
        assert_eq!(fake.reply(), 0);
        assert_eq!(stop.join().unwrap().unwrap(), [7, 7]);
    });

    assert_eq!(fake.frontend.window().unwrap().uncommitted(), 0);
    assert_eq!(fake.frontend.fault(), None);
}

#[test]
fn reset_between_reply_and_commit_waits_and_drops_the_map() {
    let fake = started();
    let gate = fake.frontend.gate(Stage::BeforeCommit);
    assert_eq!(fake.map(&page_file(), 0), 0);

    thread::scope(|scope| {
        let reset = scope.spawn(|| fake.frontend.reset());
        assert!(fake.frontend.wait_contended(soon()));
        gate.open();
        reset.join().unwrap().unwrap();
    });

    fake.await_event(0, |event| *event == Event::MapsDropped(1));
}

#[test]
fn request_that_stays_incomplete_is_a_fault() {
    let mut short = config(Flavour::Qemu);
    short.timeout = std::time::Duration::from_millis(50);
    let fake = Fake::with(short, !protocol::CONFIGURE_MEM_SLOTS).unwrap();
    fake.frontend.start().unwrap();

    fake.send(&framed(MAP, &[])[..1], None);

    fake.await_event(0, |event| {
        matches!(event, Event::Fault(Fault::Incomplete(_)))
    });
}
