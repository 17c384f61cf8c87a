//! COPY and FILL, in order, with their fences and replies.

use std::time::Duration;

use coherd_protocol::blob_context::command::{Copy, Fill, opcode};
use coherd_protocol::blob_context::{Status, StreamBuilder};
use coherd_tests::driver::blob_program::{copy, fill, silent};

use super::{RAM, mapped, on_each_gpu, on_files, read, write};
use crate::{PAGE, pattern};

#[test]
fn stream_of_transfers_is_executed_in_order() {
    on_each_gpu(|mut rig| {
        mapped(&mut rig, 1, 4, RAM);
        mapped(&mut rig, 2, 4, RAM);
        write(&rig, 1, 0, &pattern(1, 4 * PAGE));
        let mut stream = StreamBuilder::default();
        for round in 0..100u32 {
            let offset = u64::from(round % 4) * PAGE;
            let place = rig.program.place(&rig.gpu, round * 32).unwrap();
            stream.push(
                opcode::FILL,
                place,
                &fill(1, (offset, PAGE), round),
                &[0u8; 0],
            );
            let place = rig.program.place(&rig.gpu, round * 32 + 16).unwrap();
            let command = copy((1, offset), (2, offset), PAGE);
            stream.push(opcode::COPY, place, &command, &[0u8; 0]);
        }
        rig.program.run(&mut rig.gpu, &stream).unwrap();
        for place in 0..200 {
            let reply = rig.program.reply(&rig.gpu, place * 16).unwrap();
            assert_eq!(reply.status, Some(Status::Ok));
        }
        for page in 0..4u32 {
            let word = (96 + page).to_le_bytes();
            let copied = read(&rig, 2, u64::from(page) * PAGE, 4096);
            assert_eq!(copied, word.repeat(1024));
        }
        rig.finish().unwrap();
    });
}

#[test]
fn fence_and_reply_come_when_the_work_is_done_and_the_device_goes_on_meanwhile() {
    let (mut rig, gpu) = on_files();
    mapped(&mut rig, 1, 1, RAM);
    gpu.hold();
    let mut stream = StreamBuilder::default();
    let place = rig.program.place(&rig.gpu, 0).unwrap();
    stream.push(opcode::FILL, place, &fill(1, (0, 4), 1), &[0u8; 0]);
    let token = rig.program.submit(&mut rig.gpu, &stream).unwrap();
    assert!(gpu.wait_given(1, Duration::from_secs(10)));

    rig.gpu.display_info().unwrap();
    assert_eq!(rig.gpu.try_take(token).unwrap(), None);
    assert_eq!(rig.program.reply(&rig.gpu, 0).unwrap().status, None);
    gpu.go_on();

    rig.program.wait(&mut rig.gpu, token).unwrap();
    let reply = rig.program.reply(&rig.gpu, 0).unwrap();
    assert_eq!((reply.status, reply.sequence), (Some(Status::Ok), place.1));
    rig.finish().unwrap();
}

#[test]
fn transfers_that_cannot_be_have_their_status() {
    on_each_gpu(|mut rig| {
        mapped(&mut rig, 1, 2, RAM);
        mapped(&mut rig, 2, 1, RAM);
        let fills: [(Fill, Status); 8] = [
            (fill(9, (0, 4), 0), Status::UnknownResource),
            (fill(0, (0, 4), 0), Status::UnknownResource),
            (fill(1000, (0, 4), 0), Status::UnknownResource),
            (fill(1, (0, 0), 0), Status::Invalid),
            (fill(1, (2, 4), 0), Status::Invalid),
            (fill(1, (0, 6), 0), Status::Invalid),
            (fill(1, (2 * PAGE, 4), 0), Status::Invalid),
            (fill(1, (u64::MAX - 3, 8), 0), Status::Invalid),
        ];
        for (command, status) in fills {
            let reply = rig
                .program
                .call(&mut rig.gpu, opcode::FILL, &command, &[0u8; 0]);
            assert_eq!(reply.unwrap().status, Some(status), "{command:?}");
        }
        let copies: [(Copy, Status); 7] = [
            (copy((1, 0), (9, 0), 4), Status::UnknownResource),
            (copy((9, 0), (1, 0), 4), Status::UnknownResource),
            (copy((1, 0), (2, 0), 0), Status::Invalid),
            (copy((1, 0), (2, 0), PAGE + 1), Status::Invalid),
            (copy((2, 1), (1, 0), PAGE), Status::Invalid),
            (copy((1, 0), (1, 10), 11), Status::Invalid),
            (copy((1, u64::MAX), (1, 0), 2), Status::Invalid),
        ];
        for (command, status) in copies {
            let reply = rig
                .program
                .call(&mut rig.gpu, opcode::COPY, &command, &[0u8; 0]);
            assert_eq!(reply.unwrap().status, Some(status), "{command:?}");
        }
        let within = rig.program.copy(&mut rig.gpu, (1, 0), (1, PAGE), PAGE);
        within.unwrap().unwrap();
        rig.finish().unwrap();
    });
}

#[test]
fn replies_keep_their_order_whether_commands_succeed_or_not() {
    let (mut rig, gpu) = on_files();
    mapped(&mut rig, 1, 1, RAM);
    gpu.hold();
    let mut stream = StreamBuilder::default();
    for (offset, id) in [(0, 1), (16, 9)] {
        let place = rig.program.place(&rig.gpu, offset).unwrap();
        stream.push(opcode::FILL, place, &fill(id, (0, 4), 1), &[0u8; 0]);
    }
    let token = rig.program.submit(&mut rig.gpu, &stream).unwrap();
    assert!(gpu.wait_given(1, Duration::from_secs(10)));
    rig.gpu.display_info().unwrap();
    assert_eq!(rig.program.reply(&rig.gpu, 16).unwrap().status, None);
    gpu.go_on();
    rig.program.wait(&mut rig.gpu, token).unwrap();
    let failed = rig.program.reply(&rig.gpu, 16).unwrap().status;
    assert_eq!(failed, Some(Status::UnknownResource));
    rig.finish().unwrap();
}

#[test]
fn resource_that_goes_while_the_gpu_works_on_it_lives_until_that_is_done() {
    let (mut rig, gpu) = on_files();
    mapped(&mut rig, 1, 1, RAM);
    mapped(&mut rig, 2, 1, RAM);
    gpu.hold();
    for _ in 0..3 {
        let work = silent(opcode::FILL, &fill(1, (0, PAGE), 0x0101_0101));
        rig.program.submit(&mut rig.gpu, &work).unwrap();
    }
    let work = silent(opcode::COPY, &copy((1, 0), (2, 0), PAGE));
    let token = rig.program.submit(&mut rig.gpu, &work).unwrap();
    rig.gpu.unref(1).unwrap();
    gpu.go_on();
    rig.program.wait(&mut rig.gpu, token).unwrap();
    assert_eq!(read(&rig, 2, 0, 4096), [1; 4096]);
    rig.finish().unwrap();
    assert!(gpu.wait_empty(Duration::from_secs(10)));
}
