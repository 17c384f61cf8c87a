//! Streams, right and wrong.

use coherd_protocol::blob_context::command::{NO_REPLY, SetReplyBuffer, opcode};
use coherd_protocol::blob_context::{Status, StreamBuilder};
use coherd_tests::blob_rig::{CTX, REPLIES};
use coherd_tests::driver::Blob;
use coherd_tests::driver::blob_program::{fill, silent};
use coherd_tests::guest::random::SplitMix64;

use super::{RAM, mapped, on_each_gpu, on_files, read};
use crate::{PAGE, code};

fn set(resource_id: u32, size: u64) -> SetReplyBuffer {
    SetReplyBuffer {
        resource_id: resource_id.into(),
        padding: 0.into(),
        offset: 0.into(),
        size: size.into(),
    }
}

#[test]
fn stream_that_is_none_is_refused_as_a_whole_and_the_context_goes_on() {
    on_each_gpu(|mut rig| {
        mapped(&mut rig, 1, 1, RAM);
        let good = silent(opcode::FILL, &fill(1, (0, 4), 0x0707_0707));
        for spoilt in [
            good.bytes()[..36].to_vec(),
            [good.bytes(), &[0; 8]].concat(),
            [good.bytes(), &good.bytes()[..32]].concat(),
            vec![0xff; 64],
            vec![0; 4],
        ] {
            assert_eq!(code(rig.gpu.submit_3d(CTX, &spoilt)), 0x1205);
        }
        assert_eq!(read(&rig, 1, 0, 4), [0; 4]);
        rig.program.run(&mut rig.gpu, &good).unwrap();
        assert_eq!(read(&rig, 1, 0, 4), [7; 4]);
        rig.finish().unwrap();
    });
}

#[test]
fn commands_that_are_unknown_or_short_spoil_nothing_but_themselves() {
    on_each_gpu(|mut rig| {
        mapped(&mut rig, 1, 1, RAM);
        let mut stream = StreamBuilder::default();
        let expected = [
            (opcode::NOP, Status::Ok),
            (77, Status::UnknownCommand),
            (u32::MAX, Status::UnknownCommand),
            (opcode::SYNC, Status::Invalid),
            (opcode::IMAGE, Status::Invalid),
        ];
        for (offset, (code, _)) in (0..).step_by(16).zip(expected) {
            let place = rig.program.place(&rig.gpu, offset).unwrap();
            stream.push(code, place, &[0u8; 8], &[0u8; 0]);
        }
        let place = rig.program.place(&rig.gpu, 80).unwrap();
        stream.push(opcode::FILL, place, &fill(1, (0, 4), 7), &[0u8; 0]);
        rig.program.run(&mut rig.gpu, &stream).unwrap();
        for (offset, (code, status)) in (0..).step_by(16).zip(expected) {
            let reply = rig.program.reply(&rig.gpu, offset).unwrap();
            assert_eq!(reply.status, Some(status), "{code}");
        }
        let reply = rig.program.reply(&rig.gpu, 80).unwrap();
        assert_eq!(reply.status, Some(Status::Ok));
        rig.finish().unwrap();
    });
}

#[test]
fn replies_that_nobody_wants_or_that_have_no_room_are_not_given() {
    let (mut rig, _) = on_files();
    mapped(&mut rig, 1, 1, RAM);
    let mut stream = StreamBuilder::default();
    let place = rig.program.place(&rig.gpu, 0).unwrap();
    for offset in [NO_REPLY, 4, 65536 - 8, 65536, NO_REPLY - 7] {
        stream.push(opcode::NOP, (offset, place.1), &[0u8; 0], &[0u8; 0]);
    }
    rig.program.run(&mut rig.gpu, &stream).unwrap();
    assert_eq!(rig.program.reply(&rig.gpu, 0).unwrap().status, None);
    rig.finish().unwrap();
}

#[test]
fn memory_that_the_guest_took_back_is_not_written_to() {
    let (mut rig, gpu) = on_files();
    mapped(&mut rig, 1, 1, RAM);
    for way in 0..3 {
        let page = rig.gpu.buffer(&[0; 4096]).unwrap();
        let replies = Blob {
            resource_id: 20 + way,
            mem: 1,
            size: PAGE,
            ..Blob::default()
        };
        rig.gpu.create_blob(&replies, &[page]).unwrap();
        rig.gpu.ctx_attach(CTX, 20 + way).unwrap();
        gpu.hold();
        let set = set(20 + way, PAGE);
        let mut stream = StreamBuilder::default();
        stream
            .push(opcode::SET_REPLY_BUFFER, (NO_REPLY, 0), &set, &[0u8; 0])
            .push(opcode::FILL, (0, 1), &fill(1, (0, 4), 7), &[0u8; 0]);
        let token = rig.program.submit(&mut rig.gpu, &stream).unwrap();
        match way {
            0 => rig.gpu.ctx_detach(CTX, 20).unwrap(),
            1 => rig.gpu.detach_backing(21).unwrap(),
            _ => rig.gpu.unref(22).unwrap(),
        }
        gpu.go_on();
        rig.program.wait(&mut rig.gpu, token).unwrap();
        // Nor is a reply that comes later.
        let mut later = StreamBuilder::default();
        later.push(opcode::NOP, (16, 2), &[0u8; 0], &[0u8; 0]);
        rig.program.run(&mut rig.gpu, &later).unwrap();
        assert_eq!(rig.gpu.read_buffer(page).unwrap(), [0; 4096]);
    }
    rig.finish().unwrap();
}

#[test]
fn buffer_for_replies_can_be_taken_away_and_set_again() {
    let (mut rig, _) = on_files();
    let mut stream = StreamBuilder::default();
    for offset in [0, 16, 32] {
        let place = rig.program.place(&rig.gpu, offset).unwrap();
        match offset {
            0 => stream.push(opcode::SET_REPLY_BUFFER, place, &set(0, 4096), &[0u8; 0]),
            16 => stream.push(opcode::NOP, place, &[0u8; 0], &[0u8; 0]),
            _ => stream.push(
                opcode::SET_REPLY_BUFFER,
                place,
                &set(REPLIES, 4096),
                &[0u8; 0],
            ),
        };
    }
    rig.program.run(&mut rig.gpu, &stream).unwrap();
    let statuses = [0, 16, 32].map(|offset| rig.program.reply(&rig.gpu, offset).unwrap().status);
    // The first goes where replies went until then.
    assert_eq!(statuses, [Some(Status::Ok), None, Some(Status::Ok)]);
    rig.finish().unwrap();
}

#[test]
fn garbage_is_answered_and_leaves_nothing() {
    on_each_gpu(|mut rig| {
        mapped(&mut rig, 1, 1, RAM);
        let mut numbers = SplitMix64::new(28);
        for _ in 0..2000 {
            let words = 4 + numbers.below(16);
            let mut stream: Vec<u8> = (0..words)
                .flat_map(|_| numbers.next_word().to_le_bytes())
                .collect();
            // Most of them are commands at least in their heads.
            if numbers.below(4) > 0 {
                let opcode = u32::try_from(numbers.below(10)).unwrap();
                let size = u32::try_from(stream.len()).unwrap();
                stream[..4].copy_from_slice(&opcode.to_le_bytes());
                stream[4..8].copy_from_slice(&size.to_le_bytes());
                let id = u32::try_from(numbers.below(3)).unwrap();
                stream[16..20].copy_from_slice(&id.to_le_bytes());
            }
            match rig.gpu.submit_3d(CTX, &stream) {
                Ok(()) => {}
                refused => assert_eq!(code(refused), 0x1205),
            }
        }
        // The garbage may have taken the buffer for replies away.
        let again = silent(opcode::SET_REPLY_BUFFER, &set(REPLIES, 65536));
        rig.program.run(&mut rig.gpu, &again).unwrap();
        rig.program
            .fill(&mut rig.gpu, 1, (0, 4), 0x0909_0909)
            .unwrap()
            .unwrap();
        assert_eq!(read(&rig, 1, 0, 4), [9; 4]);
        rig.finish().unwrap();
    });
}
