//! The split virtqueue.

use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::device::Device;
use crate::driver::{Buffer, Descriptor, Used, Virtqueue, VirtqueueError};
use crate::frontend::RingLayout;

const DATA: GuestAddress = GuestAddress(0x10_0000);
const TABLE: GuestAddress = GuestAddress(0x20_0000);

fn pair(size: u16, event_idx: bool) -> (Virtqueue, Device) {
    let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 4 << 20)]).unwrap();
    let layout = RingLayout::at(GuestAddress(0x1000), size);
    let device = Device::new(&memory, layout, event_idx);
    (Virtqueue::new(memory, layout, event_idx), device)
}

fn piece(offset: u64, len: u32) -> Buffer {
    Buffer {
        addr: GuestAddress(DATA.0 + offset),
        len,
    }
}

#[test]
fn direct_chain_arrives_in_order_and_its_answer_comes_back() {
    let (mut queue, mut device) = pair(8, false);
    queue.memory().write_slice(b"request", DATA).unwrap();

    let head = queue
        .add(&[piece(0, 3), piece(3, 4)], &[piece(64, 2), piece(128, 2)])
        .unwrap();
    let taken = device.take().unwrap();
    device.answer(&taken, b"abc");

    assert_eq!(taken.request, b"request");
    assert_eq!(queue.pop().unwrap(), Some(Used { head, len: 3 }));
    assert_eq!(queue.free_descriptors(), 8);
    let mut answer = [0; 2];
    queue
        .memory()
        .read_slice(&mut answer, piece(64, 2).addr)
        .unwrap();
    assert_eq!(&answer, b"ab");
}

#[test]
fn indirect_chain_takes_one_descriptor() {
    let (mut queue, mut device) = pair(4, false);
    queue.memory().write_slice(b"indirect", DATA).unwrap();
    let read: Vec<Buffer> = (0..8).map(|at| piece(at, 1)).collect();

    queue.add_indirect(TABLE, &read, &[piece(64, 4)]).unwrap();

    assert_eq!(queue.free_descriptors(), 3);
    let taken = device.take().unwrap();
    assert_eq!(taken.request, b"indirect");
    assert_eq!(taken.response, [(piece(64, 4).addr, 4)]);
}

#[test]
fn indexes_wrap_around() {
    for event_idx in [false, true] {
        let (mut queue, mut device) = pair(1024, event_idx);
        for round in 0..70_000u32 {
            let head = queue.add(&[piece(0, 4)], &[]).unwrap();
            let taken = device.take().unwrap();
            device.answer(&taken, b"");
            let used = queue.pop().unwrap();
            assert_eq!(used, Some(Used { head, len: 0 }), "round {round}");
        }
    }
}

#[test]
fn full_queue_refuses_and_chains_return_out_of_order() {
    let (mut queue, mut device) = pair(4, false);
    let heads: Vec<u16> = (0..4)
        .map(|_| queue.add(&[piece(0, 1)], &[]).unwrap())
        .collect();
    assert!(matches!(
        queue.add(&[piece(0, 1)], &[]),
        Err(VirtqueueError::Full)
    ));

    let taken: Vec<_> = std::iter::from_fn(|| device.take()).collect();
    for chain in taken.iter().rev() {
        device.answer(chain, b"");
    }

    let returned: Vec<u16> = std::iter::from_fn(|| queue.pop().unwrap())
        .map(|used| used.head)
        .collect();
    assert_eq!(returned, heads.into_iter().rev().collect::<Vec<_>>());
}

#[test]
fn kicks_follow_what_the_device_asks_for() {
    for event_idx in [false, true] {
        let (mut queue, mut device) = pair(8, event_idx);
        let send = |queue: &mut Virtqueue| {
            queue.add(&[piece(0, 1)], &[]).unwrap();
            queue.needs_kick().unwrap()
        };

        assert!(send(&mut queue), "event_idx {event_idx}");
        device.disable_kick();
        device.take().unwrap();
        assert!(!send(&mut queue), "event_idx {event_idx}");
        device.take().unwrap();
        device.enable_kick();
        assert!(send(&mut queue), "event_idx {event_idx}");
    }
}

#[test]
fn interrupts_follow_what_the_driver_asks_for() {
    let (mut queue, mut device) = pair(8, true);
    for _ in 0..3 {
        queue.add(&[piece(0, 1)], &[]).unwrap();
    }
    let mut answer_next = || {
        let taken = device.take().unwrap();
        device.answer(&taken, b"")
    };

    assert!(answer_next());
    assert!(!answer_next(), "the driver has not asked again");
    assert!(queue.enable_interrupt().unwrap(), "two are there already");
    while queue.pop().unwrap().is_some() {}
    assert!(!queue.enable_interrupt().unwrap());
    assert!(answer_next());
}

#[test]
fn chain_that_was_not_offered_is_an_error() {
    let (mut queue, mut device) = pair(8, false);
    queue.add(&[piece(0, 1)], &[]).unwrap();
    let mut taken = device.take().unwrap();
    taken.head = 5;
    device.answer(&taken, b"");

    assert!(matches!(queue.pop(), Err(VirtqueueError::UnknownChain(5))));
}

#[test]
fn chain_built_by_hand_arrives_and_returns() {
    let (mut queue, mut device) = pair(8, false);
    let indexes = queue.take_descriptors(1).unwrap();
    let descriptor = Descriptor {
        addr: DATA.0,
        len: 5,
        ..Descriptor::default()
    };
    queue.write_descriptor(indexes[0], descriptor).unwrap();

    let head = queue.offer(indexes).unwrap();
    let taken = device.take().unwrap();
    device.answer(&taken, b"");

    assert_eq!(taken.request.len(), 5);
    assert_eq!(queue.pop().unwrap(), Some(Used { head, len: 0 }));
}
