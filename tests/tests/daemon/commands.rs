//! Requests that no correct driver makes.

use coherd_protocol::gpu::limits::{MAX_REQUEST_LEN, MAX_SUBMIT_LEN};
use coherd_tests::driver::{Buffer, Cursor, QueueKind, Request, Shape, kind};
use coherd_tests::frontend::Flavour;

use crate::{CTX, rig};

/// Command code and request size without trailing arrays, from the Linux uapi header.
const SIZES: [(u32, usize); 26] = [
    (kind::GET_DISPLAY_INFO, 24),
    (kind::RESOURCE_CREATE_2D, 40),
    (kind::RESOURCE_UNREF, 32),
    (kind::SET_SCANOUT, 48),
    (kind::RESOURCE_FLUSH, 48),
    (kind::TRANSFER_TO_HOST_2D, 56),
    (kind::RESOURCE_ATTACH_BACKING, 32),
    (kind::RESOURCE_DETACH_BACKING, 32),
    (kind::GET_CAPSET_INFO, 32),
    (kind::GET_CAPSET, 32),
    (kind::GET_EDID, 32),
    (kind::RESOURCE_ASSIGN_UUID, 32),
    (kind::RESOURCE_CREATE_BLOB, 56),
    (kind::SET_SCANOUT_BLOB, 96),
    (kind::CTX_CREATE, 96),
    (kind::CTX_DESTROY, 24),
    (kind::CTX_ATTACH_RESOURCE, 32),
    (kind::CTX_DETACH_RESOURCE, 32),
    (kind::RESOURCE_CREATE_3D, 72),
    (kind::TRANSFER_TO_HOST_3D, 72),
    (kind::TRANSFER_FROM_HOST_3D, 72),
    (kind::SUBMIT_3D, 32),
    (kind::RESOURCE_MAP_BLOB, 40),
    (kind::RESOURCE_UNMAP_BLOB, 32),
    (kind::UPDATE_CURSOR, 56),
    (kind::MOVE_CURSOR, 56),
];

#[test]
fn truncated_requests_are_invalid() {
    let mut rig = rig(Flavour::Qemu);
    for (kind, size) in SIZES {
        let whole = Request::new(kind)
            .body(&vec![0u8; size - 24][..])
            .to_bytes();
        for len in [1, 4, 23, size - 1] {
            let token = rig.gpu.send(&whole[..len], 24).unwrap();
            let answer = rig.gpu.wait(token, rig.frontend.deadline()).unwrap();
            assert_eq!(answer.code(), 0x1205, "{kind:#x} in {len} bytes");
        }
    }
    rig.finish().unwrap();
}

#[test]
fn unknown_commands_are_refused_on_both_queues() {
    let mut rig = rig(Flavour::Crosvm);
    for code in [0, 0xff, 0x010e, 0x020a, 0x0302, 0x1100, u32::MAX] {
        for queue in [QueueKind::Control, QueueKind::Cursor] {
            let bytes = Request::new(code).body(&[0u8; 128]).to_bytes();
            let token = rig.gpu.send_on(queue, &bytes, 24).unwrap();
            let answer = rig.gpu.wait(token, rig.frontend.deadline()).unwrap();
            assert_eq!(answer.code(), 0x1200, "{code:#x}");
        }
    }
    rig.finish().unwrap();
}

#[test]
fn commands_on_the_wrong_queue_are_refused() {
    let mut rig = rig(Flavour::Qemu);
    let moved = Cursor::default().request(kind::MOVE_CURSOR).to_bytes();
    let info = Request::display_info().to_bytes();
    for (queue, bytes) in [(QueueKind::Control, moved), (QueueKind::Cursor, info)] {
        let token = rig.gpu.send_on(queue, &bytes, 24).unwrap();
        let answer = rig.gpu.wait(token, rig.frontend.deadline()).unwrap();
        assert_eq!(answer.code(), 0x1200, "{queue:?}");
    }
    rig.finish().unwrap();
}

#[test]
fn cursor_commands_without_room_for_an_answer_are_returned_empty() {
    let mut rig = rig(Flavour::Qemu);
    let format = coherd_protocol::gpu::Format::B8G8R8A8;
    rig.gpu.create_2d(1, format, 64, 64).unwrap();
    for round in 0..600 {
        let cursor = Cursor {
            x: -round,
            resource_id: 1,
            ..Cursor::default()
        };
        assert_eq!(rig.gpu.update_cursor(&cursor).unwrap().used, 0);
        assert_eq!(rig.gpu.move_cursor(&cursor).unwrap().used, 0);
    }
    let unknown = Cursor {
        scanout: 5,
        resource_id: 99,
        ..Cursor::default()
    };
    assert_eq!(rig.gpu.update_cursor(&unknown).unwrap().used, 0);
    let token = rig.gpu.send_on(QueueKind::Cursor, b"junk", 0).unwrap();
    let answer = rig.gpu.wait(token, rig.frontend.deadline()).unwrap();
    assert_eq!(answer.used, 0);
    rig.finish().unwrap();
}

#[test]
fn answer_is_never_longer_than_its_room() {
    let mut rig = rig(Flavour::Qemu);
    let info = Request::display_info();
    for (room, used) in [
        (0, 0),
        (23, 0),
        (24, 24),
        (407, 24),
        (408, 408),
        (4096, 408),
    ] {
        let answer = rig.gpu.call(&info, room).unwrap();
        assert_eq!(answer.used, used, "{room}");
    }
    rig.finish().unwrap();
}

#[test]
fn request_over_the_limit_is_out_of_memory() {
    let mut rig = rig(Flavour::Qemu);
    rig.gpu.set_shape(Shape {
        indirect: false,
        piece: 1 << 20,
    });
    // The first is over the quota of a command stream, the second longer than any request.
    for len in [MAX_SUBMIT_LEN + 4, MAX_REQUEST_LEN] {
        let long = Request::submit_3d(CTX, &vec![0; len]);
        assert_eq!(rig.gpu.call(&long, 24).unwrap().code(), 0x1201);
    }
    rig.gpu.display_info().unwrap();
    rig.finish().unwrap();
}

#[test]
fn request_outside_guest_memory_is_answered() {
    let mut rig = rig(Flavour::Qemu);
    let outside = Buffer {
        addr: vm_memory::GuestAddress(1 << 50),
        len: 24,
    };
    let room = rig.gpu.buffer(&[0; 24]).unwrap();
    let queue = rig.gpu.queue(QueueKind::Control);
    queue.add(&[outside], &[room]).unwrap();
    rig.gpu.kick(QueueKind::Control).unwrap();

    // Answered in order, so the one before is answered too.
    rig.gpu.display_info().unwrap();

    let answer = rig.gpu.read_buffer(room).unwrap();
    assert_eq!(answer[..4], 0x1205u32.to_le_bytes());
    rig.finish().unwrap();
}

#[test]
fn answer_outside_guest_memory_is_dropped() {
    let mut rig = rig(Flavour::Qemu);
    let request = rig.gpu.buffer(&Request::display_info().to_bytes()).unwrap();
    let outside = Buffer {
        addr: vm_memory::GuestAddress(1 << 50),
        len: 408,
    };
    let queue = rig.gpu.queue(QueueKind::Control);
    queue.add(&[request], &[outside]).unwrap();
    rig.gpu.kick(QueueKind::Control).unwrap();

    rig.gpu.display_info().unwrap();
    rig.finish().unwrap();
}
