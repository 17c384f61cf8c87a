//! Chains and indexes that no correct driver makes. Each chain comes back once, or the ring stays
//! still; everything else goes on.

use coherd_tests::driver::{Buffer, Descriptor, QueueKind, Request, kind};
use coherd_tests::frontend::Flavour;
use coherd_tests::rig::Rig;
use vm_memory::{Bytes, GuestAddress};

use crate::queues::returned;
use crate::{CTX, rig};

const NEXT: u16 = Descriptor::NEXT;
const WRITE: u16 = Descriptor::WRITE;
const INDIRECT: u16 = Descriptor::INDIRECT;

/// An address that no guest RAM has.
const NOWHERE: u64 = 1 << 40;

fn descriptor(buffer: Buffer, flags: u16, next: u16) -> Descriptor {
    Descriptor {
        addr: buffer.addr.0,
        len: buffer.len,
        flags,
        next,
    }
}

/// GET_DISPLAY_INFO and the room for its answer.
fn info(rig: &mut Rig) -> (Buffer, Buffer) {
    let request = Request::display_info().to_bytes();
    let request = rig.gpu.buffer(&request).unwrap();
    (request, rig.gpu.buffer(&[0; 408]).unwrap())
}

/// The two parts of a buffer.
fn split(buffer: Buffer, at: u32) -> (Buffer, Buffer) {
    let rest = GuestAddress(buffer.addr.0 + u64::from(at));
    let first = Buffer { len: at, ..buffer };
    (
        first,
        Buffer {
            addr: rest,
            len: buffer.len - at,
        },
    )
}

/// An indirect table in guest memory.
fn table(rig: &mut Rig, entries: &[Descriptor]) -> Buffer {
    let bytes: Vec<u8> = entries.iter().flat_map(|entry| entry.to_bytes()).collect();
    rig.gpu.buffer(&bytes).unwrap()
}

/// Offers a chain built by hand. The `next` of a descriptor counts within the chain. Returns the
/// bytes that the device says it wrote.
fn run(rig: &mut Rig, chain: &[Descriptor]) -> u32 {
    let queue = rig.gpu.queue(QueueKind::Control);
    let indexes = queue.take_descriptors(chain.len()).unwrap();
    for (index, descriptor) in indexes.iter().zip(chain) {
        let next = indexes.get(usize::from(descriptor.next));
        let next = next.copied().unwrap_or(descriptor.next);
        let descriptor = Descriptor {
            next,
            ..*descriptor
        };
        queue.write_descriptor(*index, descriptor).unwrap();
    }
    let head = queue.offer(indexes).unwrap();
    rig.gpu.kick(QueueKind::Control).unwrap();
    let used = returned(rig);
    assert_eq!(used.head, head);
    used.len
}

#[test]
fn indirect_table_may_follow_direct_descriptors() {
    let mut rig = rig(Flavour::Qemu);
    let (request, room) = info(&mut rig);
    let (start, rest) = split(request, 10);
    let entries = [descriptor(rest, NEXT, 1), descriptor(room, WRITE, 0)];
    let table = table(&mut rig, &entries);

    let written = run(
        &mut rig,
        &[descriptor(start, NEXT, 1), descriptor(table, INDIRECT, 0)],
    );

    assert_eq!(written, 408);
    let answer = rig.gpu.read_buffer(room).unwrap();
    assert_eq!(answer[..4], 0x1101u32.to_le_bytes());
    rig.finish().unwrap();
}

#[test]
fn indirect_table_longer_than_the_ring_is_read() {
    let mut rig = rig(Flavour::Qemu);
    let (request, room) = info(&mut rig);
    let (_, nothing) = split(request, request.len);
    let mut entries = vec![descriptor(request, NEXT, 1)];
    entries.extend((2..1000).map(|next| descriptor(nothing, NEXT, next)));
    entries.push(descriptor(room, WRITE, 0));
    let table = table(&mut rig, &entries);
    assert_eq!(run(&mut rig, &[descriptor(table, INDIRECT, 0)]), 408);
    rig.finish().unwrap();
}

#[test]
fn indirect_table_that_is_none_comes_back_unanswered() {
    let mut rig = rig(Flavour::Qemu);
    let (request, room) = info(&mut rig);
    let whole = table(
        &mut rig,
        &[descriptor(request, NEXT, 1), descriptor(room, WRITE, 0)],
    );
    let nested = table(&mut rig, &[descriptor(whole, INDIRECT, 0)]);
    let sizes = [0, 1, 15, 17, 16 * 65536, u32::MAX];
    let wrong = sizes.map(|len| Buffer { len, ..whole });
    let nowhere = Buffer {
        addr: GuestAddress(NOWHERE),
        len: 32,
    };
    let at_the_end = Buffer {
        addr: GuestAddress(u64::MAX - 7),
        len: 32,
    };

    for table in wrong.into_iter().chain([nested, nowhere, at_the_end]) {
        let written = run(&mut rig, &[descriptor(table, INDIRECT, 0)]);
        assert_eq!(written, 0, "{table:?}");
    }
    rig.gpu.display_info().unwrap();
    rig.finish().unwrap();
}

#[test]
fn answer_goes_to_the_room_before_a_table_that_is_none() {
    let mut rig = rig(Flavour::Qemu);
    let (request, room) = info(&mut rig);
    let empty = Buffer { len: 0, ..request };
    let chain = [
        descriptor(request, NEXT, 1),
        descriptor(room, NEXT | WRITE, 2),
        descriptor(empty, INDIRECT, 0),
    ];
    assert_eq!(run(&mut rig, &chain), 408);
    rig.finish().unwrap();
}

#[test]
fn loops_end() {
    let mut rig = rig(Flavour::Qemu);
    let (request, room) = info(&mut rig);
    let to_itself = [descriptor(request, NEXT, 0)];
    let writable = [descriptor(room, NEXT | WRITE, 0)];
    let pair = [
        descriptor(request, NEXT, 1),
        descriptor(room, NEXT | WRITE, 0),
    ];
    let page = rig.gpu.buffer(&vec![0; 1 << 20]).unwrap();
    let long = [descriptor(page, NEXT, 0)];
    let astray = [descriptor(request, NEXT, 60_000)];
    for chain in [&to_itself[..], &writable, &pair, &long, &astray] {
        run(&mut rig, chain);
        let table = table(&mut rig, chain);
        run(&mut rig, &[descriptor(table, INDIRECT, 0)]);
    }
    rig.gpu.display_info().unwrap();
    rig.finish().unwrap();
}

#[test]
fn buffers_outside_guest_memory_are_not_touched() {
    let mut rig = rig(Flavour::Qemu);
    let (request, room) = info(&mut rig);
    let nowhere = Buffer {
        addr: GuestAddress(NOWHERE),
        len: 408,
    };
    let unreadable = [descriptor(nowhere, NEXT, 1), descriptor(room, WRITE, 0)];
    assert_eq!(run(&mut rig, &unreadable), 24);
    let answer = rig.gpu.read_buffer(room).unwrap();
    assert_eq!(answer[..4], 0x1205u32.to_le_bytes());
    let unwritable = [descriptor(request, NEXT, 1), descriptor(nowhere, WRITE, 0)];
    assert_eq!(run(&mut rig, &unwritable), 0);
    rig.finish().unwrap();
}

/// Kicks the control queue and keeps the cursor queue busy for more than one turn, so that the
/// device has looked at the control queue when this returns.
fn look(rig: &mut Rig) {
    rig.frontend.rings()[0].kick().unwrap();
    let moved = coherd_tests::driver::Cursor::default().request(kind::MOVE_CURSOR);
    for _ in 0..300 {
        let token = rig
            .gpu
            .send_on(QueueKind::Cursor, &moved.to_bytes(), 24)
            .unwrap();
        rig.gpu.wait(token, rig.frontend.deadline()).unwrap();
    }
}

#[test]
fn index_that_jumps_stops_its_ring_and_no_other() {
    for jump in [257, 50_000, 65_535] {
        let mut rig = rig(Flavour::Qemu);
        let memory = rig.frontend.memory();
        let avail = rig.frontend.rings()[0].layout().avail;
        let index: u16 = memory.read_obj(GuestAddress(avail.0 + 2)).unwrap();
        let queue = rig.gpu.queue(QueueKind::Control);
        queue.set_avail_index(index.wrapping_add(jump)).unwrap();
        look(&mut rig);

        let queue = rig.gpu.queue(QueueKind::Control);
        queue.set_avail_index(index).unwrap();
        rig.gpu.display_info().unwrap();
        rig.finish().unwrap();
    }
}

#[test]
fn heads_that_do_not_exist_are_passed_over() {
    let mut rig = rig(Flavour::Qemu);
    for head in [256, 60_000, u16::MAX] {
        rig.gpu.queue(QueueKind::Control).push(head).unwrap();
    }
    rig.gpu.display_info().unwrap();
    rig.finish().unwrap();
}

#[test]
fn chain_offered_again_and_again_is_taken_as_often_as_there_are_descriptors() {
    let mut rig = rig(Flavour::Qemu);
    let (fence, _) = crate::pending_fence(&mut rig);
    let request = Request::submit_3d(CTX, &[]).fence(fence);
    let request = rig.gpu.buffer(&request.to_bytes()).unwrap();
    let room = rig.gpu.buffer(&[0; 24]).unwrap();
    let queue = rig.gpu.queue(QueueKind::Control);
    let head = queue.add(&[request], &[room]).unwrap();
    for _ in 0..3 {
        for _ in 0..100 {
            rig.gpu.queue(QueueKind::Control).push(head).unwrap();
        }
        look(&mut rig);
    }
    assert_eq!(rig.host.fences().len(), 256);

    let asked = rig.host.fences();
    rig.host.signal(asked[255]);

    rig.reboot().unwrap();
    rig.gpu.display_info().unwrap();
    rig.finish().unwrap();
}

#[test]
fn ring_with_an_impossible_index_does_not_keep_the_other_one_waiting() {
    let mut rig = rig(Flavour::Qemu);
    let cursor = rig.gpu.queue(QueueKind::Cursor);
    cursor.set_avail_index(50_000).unwrap();
    rig.frontend.rings()[1].kick().unwrap();
    let info = rig.gpu.capset_info(0).unwrap();
    assert_eq!(info.max_size.get(), 160);
    rig.frontend.stop().unwrap();
    rig.finish().unwrap();
}
