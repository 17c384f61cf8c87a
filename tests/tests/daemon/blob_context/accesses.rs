//! SYNC: right with it, stale without it, and what it refuses.

use std::time::Duration;

use coherd_protocol::blob_context::Status;
use coherd_protocol::blob_context::command::{Sync, SyncFlags, opcode};
use coherd_protocol::memory::{Access, MemoryProperties};
use coherd_tests::blob_rig::BlobRig;
use coherd_tests::driver::BlobProgram;
use coherd_tests::driver::blob_program::{fill, silent, sync};

use super::{RAM, READ_WRITE, VISIBLE, mapped, on_each_gpu, on_files, read, write};
use crate::{PAGE, pattern};

/// Cached, and coherent only by SYNC.
const INCOHERENT: MemoryProperties = VISIBLE.union(MemoryProperties::HOST_CACHED);

/// A mapped blob of incoherent memory, and one of coherent memory beside it.
fn incoherent(rig: &mut BlobRig) {
    let memory = mapped(rig, 1, 2, INCOHERENT);
    let coherent = MemoryProperties::HOST_COHERENT.bits();
    assert_eq!(memory.properties.get() & coherent, 0);
    mapped(rig, 2, 2, RAM);
}

fn copy_out(rig: &mut BlobRig) -> Vec<u8> {
    let copied = rig.program.copy(&mut rig.gpu, (1, 0), (2, 0), PAGE);
    copied.unwrap().unwrap();
    read(rig, 2, 0, 4096)
}

fn start(rig: &mut BlobRig, access: Access) {
    rig.program.start(&mut rig.gpu, 1, access).unwrap().unwrap();
}

fn end(rig: &mut BlobRig, access: Access) {
    rig.program.end(&mut rig.gpu, 1, access).unwrap().unwrap();
}

#[test]
fn gpu_sees_what_the_guest_wrote_at_the_end_and_not_before() {
    let (mut rig, _) = on_files();
    incoherent(&mut rig);
    start(&mut rig, Access::WRITE);
    write(&rig, 1, 0, &pattern(3, PAGE));
    assert_eq!(copy_out(&mut rig), [0; 4096]);

    end(&mut rig, Access::WRITE);

    assert_eq!(copy_out(&mut rig), pattern(3, PAGE));
    rig.finish().unwrap();
}

#[test]
fn guest_sees_what_the_gpu_wrote_from_the_start_and_not_before() {
    let (mut rig, _) = on_files();
    incoherent(&mut rig);
    let filled = rig.program.fill(&mut rig.gpu, 1, (0, PAGE), 0x0707_0707);
    filled.unwrap().unwrap();
    assert_eq!(read(&rig, 1, 0, 4096), [0; 4096]);

    start(&mut rig, Access::READ);

    assert_eq!(read(&rig, 1, 0, 4096), [7; 4096]);
    end(&mut rig, Access::READ);
    rig.finish().unwrap();
}

#[test]
fn access_that_does_not_say_what_it_does_moves_nothing() {
    let (mut rig, _) = on_files();
    incoherent(&mut rig);
    // Whole atoms are written, so that nothing has to be fetched for a write.
    let filled = rig.program.fill(&mut rig.gpu, 1, (0, PAGE), 0x0707_0707);
    filled.unwrap().unwrap();
    start(&mut rig, Access::WRITE);
    assert_eq!(read(&rig, 1, 0, 4096), [0; 4096]);
    end(&mut rig, Access::WRITE);
    start(&mut rig, Access::READ);
    write(&rig, 1, 0, &[9; 4096]);
    end(&mut rig, Access::READ);
    assert_ne!(copy_out(&mut rig), [9; 4096]);
    rig.finish().unwrap();
}

#[test]
fn ranges_are_made_right_and_nothing_beside_them() {
    let (mut rig, _) = on_files();
    incoherent(&mut rig);
    let range = (64, 128);
    let call = |rig: &mut BlobRig, flags| {
        let command = sync(1, flags, range);
        let reply = rig
            .program
            .call(&mut rig.gpu, opcode::SYNC, &command, &[0u8; 0]);
        assert_eq!(reply.unwrap().status, Some(Status::Ok));
    };
    call(&mut rig, SyncFlags::WRITE);
    write(&rig, 1, 0, &[5; 4096]);
    call(&mut rig, SyncFlags::WRITE | SyncFlags::END);

    let bytes = copy_out(&mut rig);

    assert_eq!(bytes[64..192], [5; 128]);
    assert!(
        bytes[..64]
            .iter()
            .chain(&bytes[192..])
            .all(|byte| *byte == 0)
    );
    rig.finish().unwrap();
}

#[test]
fn accesses_nest_and_each_end_needs_its_start() {
    on_each_gpu(|mut rig| {
        mapped(&mut rig, 1, 2, RAM);
        let end = |rig: &mut BlobRig, access| rig.program.end(&mut rig.gpu, 1, access).unwrap();
        assert_eq!(end(&mut rig, Access::READ), Err(Status::NotOpen));
        for _ in 0..3 {
            start(&mut rig, READ_WRITE);
        }
        start(&mut rig, Access::READ);
        for _ in 0..3 {
            assert_eq!(end(&mut rig, READ_WRITE), Ok(()));
        }
        assert_eq!(end(&mut rig, READ_WRITE), Err(Status::NotOpen));
        // The range is a part of its name.
        let other = sync(1, SyncFlags::READ | SyncFlags::END, (0, PAGE));
        let reply = rig
            .program
            .call(&mut rig.gpu, opcode::SYNC, &other, &[0u8; 0]);
        assert_eq!(reply.unwrap().status, Some(Status::NotOpen));
        // Zero stands for all there is.
        let whole = sync(1, SyncFlags::READ | SyncFlags::END, (0, 2 * PAGE));
        let reply = rig
            .program
            .call(&mut rig.gpu, opcode::SYNC, &whole, &[0u8; 0]);
        assert_eq!(reply.unwrap().status, Some(Status::Ok));
        rig.finish().unwrap();
    });
}

#[test]
fn accesses_that_cannot_be_have_their_status() {
    on_each_gpu(|mut rig| {
        mapped(&mut rig, 1, 2, RAM);
        let late = Sync {
            timeout_ms: 10_001.into(),
            ..sync(1, SyncFlags::READ, (0, 0))
        };
        let strange = Sync {
            flags: 8.into(),
            ..sync(1, SyncFlags::READ, (0, 0))
        };
        for (command, status) in [
            (sync(1, SyncFlags::empty(), (0, 0)), Status::Invalid),
            (sync(1, SyncFlags::END, (0, 0)), Status::Invalid),
            (sync(1, SyncFlags::READ, (2 * PAGE, 0)), Status::Invalid),
            (sync(1, SyncFlags::READ, (PAGE, PAGE + 1)), Status::Invalid),
            (sync(1, SyncFlags::READ, (u64::MAX, 2)), Status::Invalid),
            (sync(1, SyncFlags::READ, (1, u64::MAX)), Status::Invalid),
            (sync(9, SyncFlags::READ, (0, 0)), Status::UnknownResource),
            (late, Status::Invalid),
            (strange, Status::Invalid),
        ] {
            let reply = rig
                .program
                .call(&mut rig.gpu, opcode::SYNC, &command, &[0u8; 0]);
            assert_eq!(reply.unwrap().status, Some(status), "{command:?}");
        }
        rig.finish().unwrap();
    });
}

#[test]
fn start_waits_for_the_work_of_other_contexts_and_gives_up_in_time() {
    let (mut rig, gpu) = on_files();
    incoherent(&mut rig);
    let mut other = BlobProgram::new(&mut rig.gpu, 2, 1001).unwrap();
    rig.gpu.ctx_attach(2, 1).unwrap();
    gpu.hold();
    let work = silent(opcode::FILL, &fill(1, (0, PAGE), 0x0707_0707));
    let token = rig.program.submit(&mut rig.gpu, &work).unwrap();
    assert!(gpu.wait_given(1, Duration::from_secs(10)));

    let soon = Sync {
        timeout_ms: 20.into(),
        ..sync(1, SyncFlags::READ, (0, 0))
    };
    let reply = other.call(&mut rig.gpu, opcode::SYNC, &soon, &[0u8; 0]);
    assert_eq!(reply.unwrap().status, Some(Status::TimedOut));
    // Nothing was begun.
    let not_open = other.end(&mut rig.gpu, 1, Access::READ).unwrap();
    assert_eq!(not_open, Err(Status::NotOpen));

    gpu.go_on();
    rig.program.wait(&mut rig.gpu, token).unwrap();
    let reply = other.call(&mut rig.gpu, opcode::SYNC, &soon, &[0u8; 0]);
    assert_eq!(reply.unwrap().status, Some(Status::Ok));
    assert_eq!(read(&rig, 1, 0, 4096), [7; 4096]);
    rig.finish().unwrap();
}

#[test]
fn reading_does_not_wait_for_readers() {
    let (mut rig, gpu) = on_files();
    incoherent(&mut rig);
    let mut other = BlobProgram::new(&mut rig.gpu, 2, 1001).unwrap();
    rig.gpu.ctx_attach(2, 1).unwrap();
    gpu.hold();
    let work = silent(
        opcode::COPY,
        &coherd_tests::driver::blob_program::copy((1, 0), (2, 0), PAGE),
    );
    let token = rig.program.submit(&mut rig.gpu, &work).unwrap();
    assert!(gpu.wait_given(1, Duration::from_secs(10)));

    other.start(&mut rig.gpu, 1, Access::READ).unwrap().unwrap();
    let soon = Sync {
        timeout_ms: 20.into(),
        ..sync(1, SyncFlags::WRITE, (0, 0))
    };
    let reply = other.call(&mut rig.gpu, opcode::SYNC, &soon, &[0u8; 0]);
    assert_eq!(reply.unwrap().status, Some(Status::TimedOut));

    gpu.go_on();
    rig.program.wait(&mut rig.gpu, token).unwrap();
    rig.finish().unwrap();
}

#[test]
fn what_is_left_open_ends_with_the_context_or_the_attachment() {
    let (mut rig, _) = on_files();
    incoherent(&mut rig);
    let mut other = BlobProgram::new(&mut rig.gpu, 2, 1001).unwrap();
    for end in 0..2 {
        rig.gpu.ctx_attach(2, 1).unwrap();
        other
            .start(&mut rig.gpu, 1, Access::WRITE)
            .unwrap()
            .unwrap();
        write(&rig, 1, 0, &[7 + end; 4096]);
        assert_eq!(open(&mut rig), 1);
        match end {
            0 => rig.gpu.ctx_detach(2, 1).unwrap(),
            _ => rig.gpu.ctx_destroy(2).unwrap(),
        }
        let deadline = rig.frontend.deadline();
        while open(&mut rig) > 0 {
            assert!(!deadline.passed(), "access does not end");
        }
        assert_eq!(copy_out(&mut rig), [7 + end; 4096]);
    }
    rig.finish().unwrap();
}

fn open(rig: &mut BlobRig) -> u32 {
    let queried = rig.program.query(&mut rig.gpu, 1).unwrap().unwrap();
    queried.1.open.get()
}
