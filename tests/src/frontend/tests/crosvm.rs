//! The order of crosvm's requests, and what ends its VM.

use std::time::Duration;

use vhost::vhost_user::message::FrontendReq;

use super::fake::{Fake, MAP, REMOVE, framed, map_payload, page_file};
use crate::frontend::{Deadline, Event, Fault, Flavour, Stage, WindowError, protocol};

const RING: [FrontendReq; 6] = [
    FrontendReq::SET_VRING_NUM,
    FrontendReq::SET_VRING_ADDR,
    FrontendReq::SET_VRING_BASE,
    FrontendReq::SET_VRING_CALL,
    FrontendReq::SET_VRING_KICK,
    FrontendReq::SET_VRING_ENABLE,
];

fn started() -> Fake {
    let fake = Fake::new(Flavour::Crosvm);
    fake.frontend.start().unwrap();
    fake
}

fn assert_vm_ended(fake: &Fake) {
    fake.await_event(0, |event| matches!(event, Event::Fault(Fault::VmEnded(_))));
}

#[test]
fn handshake_is_that_of_crosvm() {
    let fake = Fake::new(Flavour::Crosvm);

    assert_eq!(
        fake.frontend.log().requests_since(0),
        [
            FrontendReq::SET_OWNER,
            FrontendReq::GET_FEATURES,
            FrontendReq::GET_PROTOCOL_FEATURES,
            FrontendReq::SET_PROTOCOL_FEATURES,
            FrontendReq::SET_BACKEND_REQ_FD,
            FrontendReq::GET_QUEUE_NUM,
            FrontendReq::GET_SHMEM_CONFIG,
        ]
    );
    assert_eq!(
        fake.frontend.protocol_features() & protocol::BACKEND_SEND_FD,
        0
    );
    assert_eq!(fake.frontend.features() & 1 << 28, 0, "INDIRECT_DESC");
}

#[test]
fn start_and_stop_go_ring_by_ring_without_acknowledgements() {
    let fake = Fake::new(Flavour::Crosvm);
    let mark = fake.frontend.log().mark();

    fake.frontend.start().unwrap();
    fake.frontend.stop().unwrap();

    let mut expected = vec![FrontendReq::SET_FEATURES; 2];
    expected.push(FrontendReq::SET_MEM_TABLE);
    expected.extend(RING);
    expected.extend(RING);
    for _ in 0..2 {
        expected.extend([FrontendReq::SET_VRING_ENABLE, FrontendReq::GET_VRING_BASE]);
    }
    assert_eq!(fake.frontend.log().requests_since(mark), expected);
    let acknowledged = |event: &Event| {
        matches!(
            event,
            Event::Sent {
                need_reply: true,
                ..
            }
        )
    };
    assert!(!fake.frontend.log().events().iter().any(acknowledged));
}

#[test]
fn maps_are_visible_at_the_reply_and_survive_a_reset() {
    let fake = started();
    let window = fake.frontend.window().unwrap();

    assert_eq!(fake.map(&page_file(), 0), 0);
    window.write(0, b"guest").unwrap();
    fake.frontend.reboot().unwrap();

    assert_eq!(window.read_vec(0, 5).unwrap(), b"guest");
    assert_eq!(fake.unmap(0), 0);
    assert_eq!(fake.map(&page_file(), 0), 0);
}

#[test]
fn read_only_maps_are_read_only() {
    let fake = started();
    let mut payload = map_payload(0, 4096);
    payload[32] = 0;

    assert_eq!(fake.request(MAP, &payload, Some(&page_file())), 0);

    let window = fake.frontend.window().unwrap();
    assert!(matches!(
        window.write(0, b"x"),
        Err(WindowError::ReadOnly(0))
    ));
    window.read_vec(0, 1).unwrap();
}

#[test]
fn overlap_ends_the_vm() {
    let fake = started();
    assert_eq!(fake.map(&page_file(), 0), 0);
    fake.send(&framed(MAP, &map_payload(0, 4096)), Some(&page_file()));

    assert_vm_ended(&fake);
}

#[test]
fn unknown_unmap_ends_the_vm() {
    let fake = started();
    fake.send(&framed(super::fake::UNMAP, &map_payload(0, 4096)), None);

    assert_vm_ended(&fake);
}

#[test]
fn unknown_messages_and_flags_end_the_vm() {
    let mut flags = map_payload(0, 4096);
    flags[32] = 3;
    for (request, payload) in [(REMOVE, vec![1; 16]), (0x109, vec![]), (MAP, flags)] {
        let fake = started();
        let file = page_file();
        fake.send(&framed(request, &payload), Some(&file));

        assert_vm_ended(&fake);
        fake.frontend.stop().unwrap_err();
    }
}

#[test]
fn requests_outside_of_activation_wait_for_it() {
    let fake = started();
    fake.frontend.stop().unwrap();
    let mark = fake.frontend.log().mark();
    fake.send(&framed(MAP, &map_payload(0, 4096)), Some(&page_file()));

    let taken = |event: &Event| matches!(event, Event::Taken { .. });
    let briefly = Deadline::after(Duration::from_millis(50));
    assert_eq!(fake.frontend.log().wait(mark, briefly, taken), None);
    fake.frontend.resume(&[7, 7]).unwrap();

    assert_eq!(fake.reply(), 0);
}

#[test]
fn requests_are_served_while_the_rings_are_being_stopped() {
    let fake = started();
    let gate = fake.frontend.gate(Stage::BeforeReply);
    fake.send(&framed(MAP, &map_payload(0, 4096)), Some(&page_file()));
    assert!(gate.wait_held(super::fake::soon()));

    std::thread::scope(|scope| {
        let stop = scope.spawn(|| fake.frontend.stop());
        assert!(fake.frontend.wait_contended(super::fake::soon()));
        gate.open();
        assert_eq!(fake.reply(), 0);
        stop.join().unwrap().unwrap();
    });
}
