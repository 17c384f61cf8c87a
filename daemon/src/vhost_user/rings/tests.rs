use super::*;
use crate::memory::Ram;
use rustix::io::fcntl_dupfd_cloexec;
use vm_memory::{Address, Bytes, GuestAddress};

const AVAIL: GuestAddress = GuestAddress(0x1000);
const USED: GuestAddress = GuestAddress(0x2000);

fn rings() -> Rings {
    let reactor = Arc::new(Reactor::new().unwrap());
    let rings = Rings::new(reactor, Arc::new(BackChannel::default())).unwrap();
    let memory = Ram::from_ranges(&[(GuestAddress(0), 0x8000)]).unwrap();
    rings.set_memory(Arc::new(memory));
    rings
}

/// Starts the control queue at `base` with so many chains available, as the VMM does.
fn start(rings: &Rings, base: u16, available: u16) -> Epoch {
    set_up(rings, CONTROL, base, available);
    rings.set_enabled(CONTROL, true).unwrap();
    rings.follow()
}

/// All but the last step of a queue's start.
fn set_up(rings: &Rings, index: usize, base: u16, available: u16) {
    let memory = GuestMemory::clone(&rings.lock().memory);
    let [desc, avail, used] = parts(index);
    memory.write_obj(available, avail.unchecked_add(2)).unwrap();
    assert!(rings.configure(index, |ring| {
        ring.set_base(base);
        ring.set_size(16);
        ring.set_addresses(Some([desc, avail, used]));
    }));
    let kick = Wake::new().unwrap();
    let kick = File::from(fcntl_dupfd_cloexec(&kick, 0).unwrap());
    rings.set_kick(index, Some(kick)).unwrap();
}

/// Descriptors, available and used ring of a queue.
fn parts(index: usize) -> [GuestAddress; 3] {
    let offset = 0x4000 * u64::try_from(index).unwrap();
    [GuestAddress(0), AVAIL, USED].map(|part| part.unchecked_add(offset))
}

fn returned(rings: &Rings) -> u16 {
    returned_on(rings, CONTROL)
}

fn returned_on(rings: &Rings, index: usize) -> u16 {
    let memory = GuestMemory::clone(&rings.lock().memory);
    let [_, _, used] = parts(index);
    memory.read_obj(used.unchecked_add(2)).unwrap()
}

/// The cursor queue.
const OTHER: usize = 1;

const CHAIN: Used = Used { head: 0, len: 0 };

#[test]
fn chain_of_an_earlier_life_is_not_returned() {
    let rings = rings();
    let before = start(&rings, 0, 1);
    assert!(rings.pop(CONTROL, before).is_some());
    rings.stop(CONTROL).unwrap();
    let after = start(&rings, 0, 0);
    assert_eq!(after.life, before.life + 1);

    rings.push(CONTROL, before.life, &[CHAIN]);

    assert_eq!(returned(&rings), 0);
}

#[test]
fn chain_finished_during_a_pause_is_returned_after_it() {
    let rings = rings();
    let before = start(&rings, 0, 1);
    assert!(rings.pop(CONTROL, before).is_some());
    let base = rings.stop(CONTROL).unwrap();
    rings.push(CONTROL, before.life, &[CHAIN]);
    let after = start(&rings, base, 1);
    assert_eq!((after.life, after.run), (before.life, before.run + 1));
    assert_eq!(returned(&rings), 0);

    rings.flush();

    assert_eq!(returned(&rings), 1);
}

#[derive(Clone, Copy, Debug)]
enum Order {
    /// QEMU tells all of both queues before it enables either.
    Together,
    /// crosvm starts one after the other.
    InTurn,
}

/// Both orders, and whether the chain is done while the queues are stopped or later.
const CASES: [(Order, bool); 4] = [
    (Order::Together, true),
    (Order::Together, false),
    (Order::InTurn, true),
    (Order::InTurn, false),
];

fn start_both(rings: &Rings, order: Order, bases: [u16; 2], available: [u16; 2]) -> Epoch {
    let enable = |index| rings.set_enabled(index, true).unwrap();
    for index in [CONTROL, OTHER] {
        set_up(rings, index, bases[index], available[index]);
        if matches!(order, Order::InTurn) {
            enable(index);
        }
    }
    [CONTROL, OTHER].into_iter().for_each(enable);
    rings.follow()
}

fn stop_both(rings: &Rings) -> [u16; 2] {
    [CONTROL, OTHER].map(|index| {
        rings.set_enabled(index, false).unwrap();
        rings.stop(index).unwrap()
    })
}

/// Restarts both queues with so many chains, at what `bases` makes of their positions, while
/// a chain of the other queue is out and none was taken from the control queue. Returns the
/// lives before and after, and how many chains came back on the other queue.
fn restart(
    (order, stopped): (Order, bool),
    bases: impl FnOnce([u16; 2]) -> [u16; 2],
    available: [u16; 2],
) -> ([u64; 2], u16) {
    let rings = rings();
    let before = start_both(&rings, order, [0, 0], [0, 1]);
    assert!(rings.pop(OTHER, before).is_some());
    let positions = stop_both(&rings);
    if stopped {
        rings.push(OTHER, before.life, &[CHAIN]);
    }
    let after = start_both(&rings, order, bases(positions), available);
    if !stopped {
        rings.push(OTHER, before.life, &[CHAIN]);
    }
    rings.flush();
    ([before.life, after.life], returned_on(&rings, OTHER))
}

#[test]
fn pause_before_the_first_control_chain_loses_no_chain_of_the_other_queue() {
    for case in CASES {
        let (_, returned) = restart(case, |positions| positions, [1, 1]);
        assert_eq!(returned, 1, "{case:?}");
    }
}

#[test]
fn new_driver_gets_no_chain_of_the_other_queue_from_before() {
    for case in CASES {
        let ([before, after], returned) = restart(case, |_| [0, 0], [0, 0]);
        assert_eq!(after, before + 1);
        assert_eq!(returned, 0, "{case:?}");
    }
}

#[test]
fn nothing_is_taken_or_touched_in_an_epoch_that_is_over() {
    let rings = rings();
    let before = start(&rings, 0, 2);
    let base = rings.stop(CONTROL).unwrap();
    assert!(rings.pop(CONTROL, before).is_none());
    let after = start(&rings, base, 2);

    assert!(rings.pop(CONTROL, before).is_none());
    assert_eq!(rings.while_running(CONTROL, before, || ()), None);
    assert!(!rings.finish(CONTROL, before));
    assert!(rings.pop(CONTROL, after).is_some());
}

#[test]
fn reset_ends_a_life_whatever_the_position() {
    let rings = rings();
    let before = start(&rings, 0, 3);
    assert!(rings.pop(CONTROL, before).is_some());
    rings.reset();
    assert_eq!(start(&rings, 1, 3).life, before.life + 1);
}
