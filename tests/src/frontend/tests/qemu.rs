//! The order of QEMU's requests.

use vhost::vhost_user::message::FrontendReq;

use super::fake::{Fake, config};
use crate::frontend::{Event, Flavour, FrontendError, protocol};

const HANDSHAKE: [FrontendReq; 12] = [
    FrontendReq::GET_FEATURES,
    FrontendReq::GET_PROTOCOL_FEATURES,
    FrontendReq::SET_PROTOCOL_FEATURES,
    FrontendReq::GET_QUEUE_NUM,
    FrontendReq::SET_BACKEND_REQ_FD,
    FrontendReq::SET_OWNER,
    FrontendReq::GET_FEATURES,
    FrontendReq::SET_VRING_CALL,
    FrontendReq::SET_VRING_ERR,
    FrontendReq::SET_VRING_CALL,
    FrontendReq::SET_VRING_ERR,
    FrontendReq::GET_SHMEM_CONFIG,
];

const RING: [FrontendReq; 5] = [
    FrontendReq::SET_VRING_NUM,
    FrontendReq::SET_VRING_BASE,
    FrontendReq::SET_VRING_ADDR,
    FrontendReq::SET_VRING_KICK,
    FrontendReq::SET_VRING_CALL,
];

fn without_slots(flavour: Flavour) -> Fake {
    Fake::with(config(flavour), !protocol::CONFIGURE_MEM_SLOTS).unwrap()
}

#[test]
fn handshake_is_that_of_qemu_11_1() {
    let fake = without_slots(Flavour::Qemu);

    assert_eq!(fake.frontend.log().requests_since(0), HANDSHAKE);
    assert_eq!(fake.frontend.window().unwrap().size(), super::fake::WINDOW);
    assert!(fake.frontend.protocol_features() & protocol::BACKEND_SEND_FD != 0);
}

#[test]
fn only_some_requests_want_an_acknowledgement() {
    let fake = without_slots(Flavour::Qemu);
    fake.frontend.start().unwrap();

    let mut wanted: Vec<FrontendReq> = fake
        .frontend
        .log()
        .events()
        .into_iter()
        .filter_map(|event| match event {
            Event::Sent {
                request,
                need_reply: true,
                ..
            } => Some(request),
            _ => None,
        })
        .collect();
    wanted.dedup();

    assert_eq!(
        wanted,
        [
            FrontendReq::SET_BACKEND_REQ_FD,
            FrontendReq::SET_MEM_TABLE,
            FrontendReq::SET_VRING_ENABLE,
        ]
    );
}

#[test]
fn start_enables_after_every_ring_is_set_up_and_calls_again() {
    let fake = without_slots(Flavour::Qemu);
    let mark = fake.frontend.log().mark();

    fake.frontend.start().unwrap();

    let mut expected = vec![FrontendReq::SET_FEATURES, FrontendReq::SET_MEM_TABLE];
    expected.extend(RING);
    expected.extend(RING);
    expected.extend([FrontendReq::SET_VRING_ENABLE; 2]);
    expected.extend([FrontendReq::SET_VRING_CALL; 2]);
    assert_eq!(fake.frontend.log().requests_since(mark), expected);
}

#[test]
fn stop_disables_every_ring_before_it_asks_for_the_first_base() {
    let fake = without_slots(Flavour::Qemu);
    fake.frontend.start().unwrap();
    let mark = fake.frontend.log().mark();

    let bases = fake.frontend.stop().unwrap();

    assert_eq!(bases, [7, 7]);
    assert_eq!(
        fake.frontend.log().requests_since(mark),
        [
            FrontendReq::SET_VRING_ENABLE,
            FrontendReq::SET_VRING_ENABLE,
            FrontendReq::GET_VRING_BASE,
            FrontendReq::GET_VRING_BASE,
        ]
    );
}

#[test]
fn resume_hands_the_bases_back_and_reboot_starts_at_zero() {
    let fake = without_slots(Flavour::Qemu);
    fake.frontend.start().unwrap();
    let bases = fake.frontend.stop().unwrap();
    let mark = fake.frontend.log().mark();

    fake.frontend.resume(&bases).unwrap();
    fake.frontend.reboot().unwrap();

    let sent: Vec<Vec<u8>> = fake
        .frontend
        .log()
        .since(mark)
        .into_iter()
        .filter_map(|event| match event {
            Event::Sent {
                request: FrontendReq::SET_VRING_BASE,
                payload,
                ..
            } => Some(payload[4..].to_vec()),
            _ => None,
        })
        .collect();
    assert_eq!(sent, [[7, 0, 0, 0], [7, 0, 0, 0], [0; 4], [0; 4]]);
}

#[test]
fn configuration_is_read_and_written_as_a_whole() {
    let fake = without_slots(Flavour::Qemu);
    let mark = fake.frontend.log().mark();

    assert_eq!(fake.frontend.get_config(8, 4).unwrap(), [8, 9, 10, 11]);
    fake.frontend.set_config(4, &[1, 2]).unwrap();

    let sent = fake.frontend.log().since(mark);
    let Event::Sent { payload, .. } = &sent[2] else {
        panic!("{sent:?}");
    };
    assert_eq!(payload.len(), 12 + 24);
    assert_eq!(payload[12..20], [0, 1, 2, 3, 1, 2, 6, 7]);
}

#[test]
fn backend_without_config_is_refused() {
    let refused = Fake::with(config(Flavour::Qemu), !protocol::CONFIG).unwrap_err();

    assert!(matches!(refused, FrontendError::Missing("CONFIG")));
}

#[test]
fn operations_against_the_state_are_refused() {
    let fake = without_slots(Flavour::Qemu);

    assert!(matches!(fake.frontend.stop(), Err(FrontendError::State(_))));
    fake.frontend.start().unwrap();
    assert!(matches!(
        fake.frontend.start(),
        Err(FrontendError::State(_))
    ));
}
