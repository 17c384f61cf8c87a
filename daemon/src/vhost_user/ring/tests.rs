use super::*;
use crate::reactor::Wake;
use crate::snapshot::Parked;
use rustix::io::fcntl_dupfd_cloexec;

const SIZE: u16 = 4;
const AVAIL: u64 = 0x1000;
const END: u64 = 0x4000;

fn memory() -> GuestMemory {
    let range = (GuestAddress(0), usize::try_from(END).unwrap());
    Arc::new(Ram::from_ranges(&[range]).unwrap())
}

fn event() -> (Wake, File) {
    let wake = Wake::new().unwrap();
    let file = fcntl_dupfd_cloexec(&wake, 0).unwrap();
    (wake, File::from(file))
}

/// An active ring whose driver made `heads` available, and its call fd.
fn ring(memory: &GuestMemory, used: u64, heads: &[u16]) -> (Ring, Wake) {
    for (slot, head) in (0..).zip(heads) {
        let entry = GuestAddress(AVAIL + 4 + 2 * slot);
        memory.write_obj(*head, entry).unwrap();
    }
    let index = u16::try_from(heads.len()).unwrap();
    memory.write_obj(index, GuestAddress(AVAIL + 2)).unwrap();
    let mut ring = Ring::new().unwrap();
    ring.set_size(SIZE.into());
    ring.set_addresses(Some([0, AVAIL, used].map(GuestAddress)));
    let (call, file) = event();
    ring.set_call(Some(file));
    ring.set_kick(Some(event().1));
    ring.set_enabled(true);
    assert!(ring.activate(memory, 1));
    (ring, call)
}

fn used(head: u16) -> Used {
    Used { head, len: 0 }
}

fn returned(memory: &GuestMemory, ring: u64) -> u16 {
    memory.read_obj(GuestAddress(ring + 2)).unwrap()
}

fn is_signalled(call: &Wake) -> bool {
    rustix::io::read(call, &mut [0u8; 8]).is_ok()
}

#[test]
fn ring_that_leaves_guest_memory_stays_still() {
    let memory = memory();
    let (mut ring, _call) = ring(&memory, END - 8, &[0]);
    assert!(ring.pop(&memory).is_none());
    ring.push(&memory, &[used(0)]);
    ring.flush(&memory);
}

#[test]
fn ring_with_an_impossible_size_or_address_stays_still_until_it_has_right_ones() {
    let memory = memory();
    let (mut ring, _call) = ring(&memory, 0x2000, &[0]);
    let right = [0, AVAIL, 0x2000].map(GuestAddress);
    for (size, addresses) in [(3, Some(right)), (4, None), (4, Some(right))] {
        ring.deactivate();
        ring.set_size(size);
        ring.set_addresses(addresses);
        assert!(ring.activate(&memory, 1));
        let is_right = size == 4 && addresses.is_some();
        assert_eq!(
            ring.pop(&memory).is_some(),
            is_right,
            "{size} {addresses:?}"
        );
    }
}

#[test]
fn no_more_chains_are_out_than_there_are_descriptors() {
    let memory = memory();
    let (mut ring, _call) = ring(&memory, 0x2000, &[2, 2, 2, 2]);
    assert_eq!(std::iter::from_fn(|| ring.pop(&memory)).count(), 4);
    memory.write_obj(8u16, GuestAddress(AVAIL + 2)).unwrap();
    assert!(ring.pop(&memory).is_none());

    ring.push(&memory, &[used(2)]);

    assert_eq!(std::iter::from_fn(|| ring.pop(&memory)).count(), 1);
}

#[test]
fn chain_that_does_not_exist_is_not_returned() {
    let memory = memory();
    let (mut ring, _call) = ring(&memory, 0x2000, &[SIZE, 0]);
    assert_eq!(ring.pop(&memory).unwrap().count(), 0);
    assert_eq!(ring.pop(&memory).unwrap().head_index(), 0);
    ring.push(&memory, &[used(SIZE), used(0)]);
    assert_eq!(returned(&memory, 0x2000), 1);
}

#[test]
fn chains_returned_while_the_ring_is_stopped_stay_in_front() {
    let memory = memory();
    let (mut ring, call) = ring(&memory, 0x2000, &[0, 1]);
    assert_eq!(std::iter::from_fn(|| ring.pop(&memory)).count(), 2);
    ring.set_enabled(false);
    ring.push(&memory, &[used(0)]);
    ring.set_enabled(true);
    assert!(ring.activate(&memory, 1));
    ring.push(&memory, &[used(1)]);
    assert_eq!(returned(&memory, 0x2000), 0);

    ring.flush(&memory);

    let first: u32 = memory.read_obj(GuestAddress(0x2004)).unwrap();
    assert_eq!((returned(&memory, 0x2000), first), (2, 0));
    assert!(is_signalled(&call));
}

#[test]
fn driver_that_wants_no_signal_gets_none() {
    let memory = memory();
    let (mut ring, call) = ring(&memory, 0x2000, &[0, 1]);
    memory.write_obj(1u16, GuestAddress(AVAIL)).unwrap();
    ring.push(&memory, &[used(0)]);
    assert!(!is_signalled(&call));
    memory.write_obj(0u16, GuestAddress(AVAIL)).unwrap();
    ring.push(&memory, &[used(1)]);
    assert!(is_signalled(&call));
}

#[test]
fn ring_that_has_come_round_is_reset_if_the_driver_zeroed_it() {
    for (element, is_reset) in [([0, 0], true), ([3, 0], false), ([0, 24], false)] {
        let memory = memory();
        let (mut ring, _call) = ring(&memory, 0x2000, &[0]);
        ring.queue.set_next_avail(u16::MAX);
        memory.write_obj(0u16, GuestAddress(AVAIL + 2)).unwrap();
        assert!(ring.pop(&memory).is_some());
        assert_eq!(ring.position(), 0);

        ring.set_enabled(false);
        ring.set_base(0);
        memory.write_obj(element, GuestAddress(0x200c)).unwrap();

        assert_eq!(ring.is_reset(&memory), is_reset, "{element:?}");
    }
}

#[test]
fn loaded_ring_goes_on_behind_the_last_chain_or_takes_it_again() {
    for (parked, first) in [(None, 1), (Some(Parked::Unexecuted), 3)] {
        let memory = memory();
        let (mut ring, _call) = ring(&memory, 0x2000, &[3, 1]);
        assert!(ring.pop(&memory).is_some());
        let mut saved = ring.save();
        saved.parked = parked;

        let mut other = Ring::new().unwrap();
        other.load(&saved);
        other.set_size(SIZE.into());
        other.set_addresses(Some([0, AVAIL, 0x2000].map(GuestAddress)));
        other.set_base(saved.position);
        other.set_kick(Some(event().1));
        other.set_enabled(true);
        assert!(!other.is_reset(&memory));
        assert!(other.activate(&memory, 1));

        let chain = other.pop(&memory).unwrap();
        assert_eq!(chain.head_index(), first);
    }
}

#[test]
fn ring_without_a_kick_fd_is_stopped() {
    let memory = memory();
    let (mut ring, _call) = ring(&memory, 0x2000, &[0]);
    ring.set_kick(None);
    assert!(ring.pop(&memory).is_none());
    ring.set_kick(Some(event().1));
    assert!(ring.activate(&memory, 1));
    assert!(ring.pop(&memory).is_some());
}
