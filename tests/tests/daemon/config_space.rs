//! The configuration space as guests read and write it.

use coherd::device::display::{Mode, Outputs};
use coherd::serve::Options;
use coherd_tests::frontend::{Config, Flavour};
use coherd_tests::rig::Rig;

use crate::until_width;

const ALL: [Flavour; 3] = [Flavour::Qemu, Flavour::Crosvm, Flavour::Libkrun];

/// Offsets of fields, VIRTIO 1.4 section 5.7.4.
const EVENTS_READ: u32 = 0;
const EVENTS_CLEAR: u32 = 4;
const NUM_SCANOUTS: u32 = 8;

/// A field as the guest reads it.
fn field(rig: &Rig, offset: u32) -> u32 {
    let bytes = rig.frontend.get_config(offset, 4).unwrap();
    u32::from_le_bytes(bytes.try_into().unwrap())
}

/// A rig whose guest has a display event pending.
fn with_event(flavour: Flavour) -> Rig {
    let mut rig = Rig::new(flavour).unwrap();
    // The driver has started once it has an answer.
    rig.gpu.display_info().unwrap();
    rig.server
        .set_displays(&[Mode::new(800, 600).unwrap()])
        .unwrap();
    until_width(&mut rig, 800);
    rig
}

#[test]
fn configuration_is_read_at_any_place_in_exactly_the_size_asked_for() {
    let rig = Rig::new(Flavour::Crosvm).unwrap();
    let whole = [0u32, 0, 1, 1, 4096].map(u32::to_le_bytes).concat();
    for (offset, size) in [
        (0, 4),
        (0, 20),
        (8, 8),
        (12, 4),
        (16, 4),
        (16, 16),
        (0, 200),
    ] {
        let mut expected: Vec<u8> = whole.iter().skip(offset).copied().collect();
        expected.resize(size, 0);
        let (offset, size) = (u32::try_from(offset).unwrap(), u32::try_from(size).unwrap());
        let read = rig.frontend.get_config(offset, size).unwrap();
        assert_eq!(read, expected, "{offset}+{size}");
    }
    for (offset, size) in [(20, 4), (100, 1), (252, 4), (4092, 4)] {
        let read = rig.frontend.get_config(offset, size).unwrap();
        assert!(read.iter().all(|byte| *byte == 0), "{offset}+{size}");
    }
    rig.finish().unwrap();
}

#[test]
fn configuration_write_is_taken_by_every_vmm() {
    for flavour in ALL {
        let rig = Rig::new(flavour).unwrap();
        rig.frontend.set_config(4, &1u32.to_le_bytes()).unwrap();
        let read = rig.frontend.get_config(0, 20).unwrap();
        assert_eq!(read[..4], [0; 4]);
        rig.finish().unwrap();
    }
}

#[test]
fn scanouts_are_the_outputs_with_or_without_a_display() {
    for flavour in ALL {
        let options = Options {
            outputs: Outputs::new(5, &[Mode::DEFAULT; 2]).unwrap(),
            ..Options::default()
        };
        let rig = Rig::with(Config::new(flavour), options).unwrap();
        assert_eq!(field(&rig, NUM_SCANOUTS), 5);
        rig.finish().unwrap();
    }
}

#[test]
fn event_stays_until_its_bit_is_cleared() {
    for flavour in ALL {
        let rig = with_event(flavour);
        assert_eq!(field(&rig, EVENTS_READ), 1, "{flavour:?}");

        for bits in [0u32, 2, 0xffff_fffe] {
            rig.frontend
                .set_config(EVENTS_CLEAR, &bits.to_le_bytes())
                .unwrap();
            assert_eq!(field(&rig, EVENTS_READ), 1, "{flavour:?} {bits:#x}");
        }
        rig.frontend
            .set_config(EVENTS_CLEAR, &1u32.to_le_bytes())
            .unwrap();

        assert_eq!(field(&rig, EVENTS_READ), 0, "{flavour:?}");
        assert_eq!(field(&rig, EVENTS_CLEAR), 0, "{flavour:?}");
        rig.finish().unwrap();
    }
}

#[test]
fn event_is_cleared_by_the_byte_that_holds_its_bit() {
    for flavour in ALL {
        let rig = with_event(flavour);
        assert_eq!(field(&rig, EVENTS_READ), 1);
        rig.frontend.set_config(5, &[0xff; 3]).unwrap();
        assert_eq!(field(&rig, EVENTS_READ), 1, "{flavour:?}");
        rig.frontend.set_config(EVENTS_CLEAR, &[1]).unwrap();
        assert_eq!(field(&rig, EVENTS_READ), 0, "{flavour:?}");
        rig.finish().unwrap();
    }
}

#[test]
fn event_is_cleared_by_a_write_that_covers_more_than_the_field() {
    let rig = with_event(Flavour::Crosvm);
    assert_eq!(field(&rig, EVENTS_READ), 1);
    rig.frontend.set_config(0, &[0xff; 200]).unwrap();
    assert_eq!(field(&rig, EVENTS_READ), 0);
    assert_eq!(field(&rig, NUM_SCANOUTS), 1);
    rig.finish().unwrap();
}

#[test]
fn reset_clears_events() {
    for flavour in ALL {
        let mut rig = with_event(flavour);
        rig.reboot().unwrap();
        let displays = rig.gpu.display_info().unwrap();
        assert_eq!(field(&rig, EVENTS_READ), 0, "{flavour:?}");
        assert_eq!(displays[0].rect.width.get(), 800);
        rig.finish().unwrap();
    }
}
