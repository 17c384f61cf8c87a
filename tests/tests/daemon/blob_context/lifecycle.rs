//! Ends, with and without work in the GPU.

use std::time::{Duration, Instant};

use coherd_protocol::blob_context::Status;
use coherd_protocol::blob_context::command::opcode;
use coherd_protocol::memory::Access;
use coherd_tests::blob_rig::{BlobRig, CTX, REPLIES};
use coherd_tests::driver::blob_program::{fill, silent, sync};
use coherd_tests::driver::{BlobProgram, Gpu};

use super::{RAM, VISIBLE, blob, mapped, on_each_gpu, on_files, read, wish};
use crate::{PAGE, code};

const PATIENCE: Duration = Duration::from_secs(10);

/// Gives the context work that is never done, with a START behind it.
fn queue_work(rig: &mut BlobRig) -> coherd_tests::driver::Token {
    for _ in 0..20 {
        let work = silent(opcode::FILL, &fill(1, (0, PAGE), 1));
        rig.program.submit(&mut rig.gpu, &work).unwrap();
    }
    let start = sync(
        1,
        coherd_tests::driver::blob_program::flags(Access::WRITE),
        (0, 0),
    );
    let work = silent(opcode::SYNC, &start);
    rig.program.submit(&mut rig.gpu, &work).unwrap()
}

#[test]
fn context_is_destroyed_with_work_queued_and_its_fences_come() {
    let (mut rig, gpu) = on_files();
    mapped(&mut rig, 1, 1, VISIBLE);
    gpu.hold();
    let token = queue_work(&mut rig);
    assert!(gpu.wait_given(1, PATIENCE));

    rig.gpu.ctx_destroy(CTX).unwrap();
    rig.program.wait(&mut rig.gpu, token).unwrap();
    rig.gpu.unref(1).unwrap();

    // The next one with its id has nothing to do with it.
    let mut next = BlobProgram::new(&mut rig.gpu, CTX, REPLIES + 1).unwrap();
    let unknown = next.fill(&mut rig.gpu, 1, (0, 4), 1).unwrap();
    assert_eq!(unknown, Err(Status::UnknownResource));
    gpu.go_on();
    assert!(gpu.wait_empty(PATIENCE));
    rig.finish().unwrap();
}

#[test]
fn reset_with_work_queued_leaves_nothing() {
    let (mut rig, gpu) = on_files();
    for round in 0..3 {
        mapped(&mut rig, 1, 1, VISIBLE);
        rig.program
            .allocate(&mut rig.gpu, wish(1, RAM))
            .unwrap()
            .unwrap();
        gpu.hold();
        queue_work(&mut rig);
        assert!(gpu.wait_given(1, PATIENCE), "{round}");

        rig.frontend.reboot().unwrap();
        rig.gpu = Gpu::new(&rig.frontend).unwrap();
        rig.program = BlobProgram::new(&mut rig.gpu, CTX, REPLIES).unwrap();
        gpu.go_on();
        assert!(gpu.wait_empty(PATIENCE));
    }
    mapped(&mut rig, 1, 1, RAM);
    let filled = rig.program.fill(&mut rig.gpu, 1, (0, 4), 0x0101_0101);
    filled.unwrap().unwrap();
    assert_eq!(read(&rig, 1, 0, 4), [1; 4]);
    rig.finish().unwrap();
}

#[test]
fn vmm_that_hangs_up_with_work_queued_does_not_wait_for_the_gpu() {
    let (mut rig, gpu) = on_files();
    mapped(&mut rig, 1, 1, RAM);
    gpu.hold();
    queue_work(&mut rig);
    assert!(gpu.wait_given(1, PATIENCE));
    let before = Instant::now();
    rig.finish().unwrap();
    assert!(before.elapsed() < Duration::from_secs(5));
    gpu.go_on();
    assert!(gpu.wait_empty(PATIENCE));
}

#[test]
fn many_contexts_come_and_go_without_leaving_threads() {
    on_each_gpu(|mut rig| {
        mapped(&mut rig, 1, 1, RAM);
        for round in 0..100u32 {
            let mut other = BlobProgram::new(&mut rig.gpu, 2, 2000 + round).unwrap();
            rig.gpu.ctx_attach(2, 1).unwrap();
            other
                .fill(&mut rig.gpu, 1, (0, PAGE), round)
                .unwrap()
                .unwrap();
            rig.gpu.ctx_destroy(2).unwrap();
            rig.gpu.unref(2000 + round).unwrap();
        }
        let deadline = rig.frontend.deadline();
        while threads() > 1 {
            assert!(!deadline.passed(), "{} threads", threads());
            rig.gpu.display_info().unwrap();
        }
        rig.finish().unwrap();
    });
}

/// Threads of blob contexts in this process that belong to no other test.
fn threads() -> usize {
    // Tests run in threads of their own, and each has few contexts at a time.
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let named = tasks.flatten().filter(|task| {
        let name = std::fs::read_to_string(task.path().join("comm"));
        name.is_ok_and(|name| name.trim() == "blob-context")
    });
    named.count().saturating_sub(16)
}

#[test]
fn blob_outlives_its_context() {
    on_each_gpu(|mut rig| {
        let mut other = BlobProgram::new(&mut rig.gpu, 2, 1001).unwrap();
        let object = other.allocate(&mut rig.gpu, wish(1, RAM)).unwrap().unwrap();
        other.create_blob(&mut rig.gpu, 1, object).unwrap();
        rig.gpu.ctx_destroy(2).unwrap();

        rig.gpu.map_blob(1, super::place(1)).unwrap();
        rig.gpu.ctx_attach(CTX, 1).unwrap();
        let filled = rig.program.fill(&mut rig.gpu, 1, (0, PAGE), 0x0303_0303);
        filled.unwrap().unwrap();

        assert_eq!(read(&rig, 1, 0, 4096), [3; 4096]);
        rig.finish().unwrap();
    });
}

#[test]
fn lost_device_fails_each_command_and_keeps_what_is_mapped() {
    let (mut rig, gpu) = on_files();
    mapped(&mut rig, 1, 1, RAM);
    blob(
        &mut rig,
        2,
        1,
        VISIBLE.union(coherd_protocol::memory::MemoryProperties::HOST_CACHED),
    );
    super::write(&rig, 1, 0, b"still here");
    gpu.lose();
    let lost = Err(Status::DeviceLost);
    let allocated = rig.program.allocate(&mut rig.gpu, wish(1, RAM)).unwrap();
    assert_eq!(allocated.map(drop), lost);
    assert_eq!(rig.program.fill(&mut rig.gpu, 1, (0, 4), 1).unwrap(), lost);
    assert_eq!(
        rig.program.start(&mut rig.gpu, 2, Access::READ).unwrap(),
        lost
    );
    assert_eq!(read(&rig, 1, 0, 10), b"still here");
    assert_eq!(code(rig.gpu.ctx_create(9, 28, "too late")), 0x1200);
    rig.gpu.unref(1).unwrap();
    rig.finish().unwrap();
}
