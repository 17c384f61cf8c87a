//! QEMU's window and what it tells the backend about it.

use std::os::unix::fs::FileExt;

use vhost::vhost_user::message::FrontendReq;

use super::fake::{Fake, MAP, REMOVE, WINDOW, config, map_payload, page_file};
use crate::frontend::{Event, Fault, Flavour, FrontendError, Stage, WindowError, protocol};

fn started(protocol_features: u64) -> Fake {
    let fake = Fake::with(config(Flavour::Qemu), protocol_features).unwrap();
    fake.frontend.start().unwrap();
    fake
}

fn baseline() -> Fake {
    started(!protocol::CONFIGURE_MEM_SLOTS)
}

fn barrier(fake: &Fake) {
    assert_eq!(fake.request(REMOVE, &[1; 16], None), 0);
}

#[test]
fn mapped_file_is_shared_with_the_window() {
    let fake = baseline();
    let file = page_file();
    let window = fake.frontend.window().unwrap();

    assert_eq!(fake.map(&file, 8192), 0);
    barrier(&fake);
    window.write(8192 + 16, b"guest").unwrap();
    let mut bytes = [0; 5];
    file.read_exact_at(&mut bytes, 16).unwrap();
    file.write_all_at(b"backend", 100).unwrap();

    assert_eq!(&bytes, b"guest");
    assert_eq!(window.read_vec(8192 + 100, 7).unwrap(), b"backend");
    assert_eq!(window.mappings().len(), 1);
}

#[test]
fn access_outside_of_mappings_is_an_error() {
    let fake = baseline();
    assert_eq!(fake.map(&page_file(), 8192), 0);
    barrier(&fake);
    let window = fake.frontend.window().unwrap();

    for (offset, len) in [(0, 1), (8191, 2), (12287, 2), (12288, 1), (WINDOW, 1)] {
        let refused = window.read_vec(offset, len);
        assert!(matches!(refused, Err(WindowError::NotMapped { .. })));
    }
}

#[test]
fn unmapped_memory_is_gone() {
    let fake = baseline();
    assert_eq!(fake.map(&page_file(), 0), 0);

    assert_eq!(fake.unmap(0), 0);
    barrier(&fake);

    let window = fake.frontend.window().unwrap();
    assert!(matches!(
        window.read_vec(0, 1),
        Err(WindowError::NotMapped { .. })
    ));
    assert_eq!(fake.unmap(0), 1);
}

#[test]
fn table_follows_the_reply() {
    let fake = baseline();
    let mark = fake.frontend.log().mark();

    assert_eq!(fake.map(&page_file(), 0), 0);
    barrier(&fake);

    let events = fake.frontend.log().since(mark);
    let position = |wanted: &dyn Fn(&Event) -> bool| events.iter().position(wanted).unwrap();
    let replied = position(&|event| {
        matches!(
            event,
            Event::Replied {
                request: MAP,
                value: 0
            }
        )
    });
    let table = position(&|event| {
        matches!(
            event,
            Event::Sent {
                request: FrontendReq::SET_MEM_TABLE,
                fds: 2,
                ..
            }
        )
    });
    let committed = position(&|event| matches!(event, Event::Committed(_)));
    assert!(replied < table && table < committed);
}

#[test]
fn early_access_is_lost_and_the_barrier_prevents_it() {
    let fake = baseline();
    let window = fake.frontend.window().unwrap();
    let gate = fake.frontend.gate(Stage::BeforeCommit);

    assert_eq!(fake.map(&page_file(), 0), 0);
    let early = window.write(0, b"lost");
    assert!(matches!(early, Err(WindowError::NotCommitted(0))));
    assert_eq!((window.early_accesses(), window.uncommitted()), (1, 1));

    gate.open();
    barrier(&fake);
    assert_eq!(window.uncommitted(), 0);
    window.write(0, b"kept").unwrap();
}

#[test]
fn refused_maps_leave_the_channel_open() {
    let fake = baseline();
    let file = page_file();
    let read_only = std::fs::File::open("/dev/zero").unwrap();
    assert_eq!(fake.map(&file, 0), 0);

    assert_eq!(fake.map(&file, 0), 1, "overlap");
    assert_eq!(fake.map(&file, WINDOW), 1, "outside");
    assert_eq!(fake.map(&read_only, 4096), 1, "read-only");
    assert_eq!(
        fake.request(MAP, &map_payload(4096, 4096), None),
        1,
        "no fd"
    );
    assert_eq!(fake.request(MAP, &map_payload(4096, 8192), Some(&file)), 1);
    assert_eq!(fake.request(MAP, &map_payload(4096, 0), Some(&file)), 1);

    assert_eq!(fake.map(&file, 4096), 0);
    assert_eq!(fake.frontend.fault(), None);
}

#[test]
fn unaligned_map_is_a_fault() {
    let fake = baseline();
    fake.send(
        &super::fake::framed(MAP, &map_payload(100, 4096)),
        Some(&page_file()),
    );

    fake.await_event(0, |event| {
        matches!(event, Event::Fault(Fault::Unaligned { offset: 100, .. }))
    });
}

#[test]
fn reset_drops_the_maps() {
    let fake = baseline();
    assert_eq!(fake.map(&page_file(), 0), 0);
    barrier(&fake);

    fake.frontend.reboot().unwrap();

    assert!(fake.frontend.window().unwrap().mappings().is_empty());
    assert_eq!(fake.map(&page_file(), 0), 0);
}

#[test]
fn too_many_maps_are_not_told_and_do_not_survive_a_stop() {
    let fake = baseline();
    let file = page_file();
    for page in 0..8 {
        assert_eq!(fake.map(&file, page * 4096), 0);
    }
    barrier(&fake);
    fake.await_event(0, |event| *event == Event::TableFull(9));

    let bases = fake.frontend.stop().unwrap();
    let refused = fake.frontend.resume(&bases);

    assert!(matches!(refused, Err(FrontendError::TableFull(9))));
}

#[test]
fn memory_slots_change_one_by_one() {
    let fake = started(!0);
    let mark = fake.frontend.log().mark();

    assert_eq!(fake.map(&page_file(), 0), 0);
    assert_eq!(fake.unmap(0), 0);
    barrier(&fake);

    assert_eq!(
        fake.frontend.log().requests_since(mark),
        [FrontendReq::ADD_MEM_REG, FrontendReq::REM_MEM_REG]
    );
}

#[test]
fn memory_slots_do_not_survive_a_reset_with_maps() {
    let fake = started(!0);
    assert_eq!(fake.map(&page_file(), 0), 0);
    barrier(&fake);

    let ended = fake.frontend.reboot();

    assert!(matches!(ended, Err(FrontendError::Dead(Fault::StaleSlots))));
}
