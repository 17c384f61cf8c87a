//! What a context allocates, has queued and has open is held against quotas.

use std::time::Duration;

use coherd::device::quota::{Quota, Scope};
use coherd_protocol::blob_context::command::opcode;
use coherd_protocol::blob_context::{Status, StreamBuilder};
use coherd_protocol::memory::Access;
use coherd_tests::blob_gpu::XR24;
use coherd_tests::driver::BlobProgram;
use coherd_tests::driver::blob_program::{ImageWish, fill};

use super::{RAM, blob, mapped, on_files_with, options_with, wish};
use crate::{PAGE, code};

#[test]
fn bytes_count_from_the_allocation_on_and_once() {
    for scope in [Scope::Vm, Scope::Context] {
        let (mut rig, gpu) = on_files_with(options_with(scope, Quota::BlobBytes, 4 * PAGE));
        let mut other = BlobProgram::new(&mut rig.gpu, 2, 1001).unwrap();
        let first = rig
            .program
            .allocate(&mut rig.gpu, wish(3, RAM))
            .unwrap()
            .unwrap();
        let over = rig.program.allocate(&mut rig.gpu, wish(2, RAM)).unwrap();
        assert_eq!(over.unwrap_err(), Status::OverQuota);
        let second = rig
            .program
            .allocate(&mut rig.gpu, wish(1, RAM))
            .unwrap()
            .unwrap();
        // The quota is used up, and yet each becomes a resource.
        rig.program.create_blob(&mut rig.gpu, 1, first).unwrap();
        rig.program.create_blob(&mut rig.gpu, 2, second).unwrap();
        let others = other.allocate(&mut rig.gpu, wish(1, RAM)).unwrap();
        assert_eq!(others.is_err(), scope == Scope::Vm);
        if let Ok((blob_id, _)) = others {
            other.release(&mut rig.gpu, blob_id).unwrap().unwrap();
        }
        rig.gpu.unref(1).unwrap();
        let third = rig
            .program
            .allocate(&mut rig.gpu, wish(3, RAM))
            .unwrap()
            .unwrap();
        rig.program.release(&mut rig.gpu, third.0).unwrap().unwrap();
        rig.program
            .allocate(&mut rig.gpu, wish(3, RAM))
            .unwrap()
            .unwrap();
        assert_eq!(gpu.blobs(), 2);
        rig.finish().unwrap();
    }
}

#[test]
fn image_over_the_quota_is_not_kept() {
    let (mut rig, gpu) = on_files_with(options_with(Scope::Vm, Quota::BlobBytes, PAGE));
    let mut image = |side| {
        let wish = ImageWish {
            size: (side, side),
            fourcc: XR24,
            ..ImageWish::default()
        };
        let created = rig.program.image(&mut rig.gpu, &wish).unwrap();
        created.map(drop)
    };
    assert_eq!(image(64), Err(Status::OverQuota));
    assert_eq!(gpu.blobs(), 0);
    assert_eq!(image(32), Ok(()));
    rig.finish().unwrap();
}

#[test]
fn objects_count_as_resources() {
    // The replies are one.
    let (mut rig, _) = on_files_with(options_with(Scope::Vm, Quota::Resources, 3));
    let first = rig
        .program
        .allocate(&mut rig.gpu, wish(1, RAM))
        .unwrap()
        .unwrap();
    let second = rig
        .program
        .allocate(&mut rig.gpu, wish(1, RAM))
        .unwrap()
        .unwrap();
    let over = rig.program.allocate(&mut rig.gpu, wish(1, RAM)).unwrap();
    assert_eq!(over.unwrap_err(), Status::OverQuota);
    rig.program.create_blob(&mut rig.gpu, 1, first).unwrap();
    rig.program.create_blob(&mut rig.gpu, 2, second).unwrap();
    let image = rig
        .gpu
        .create_2d(3, coherd_protocol::gpu::Format::B8G8R8A8, 1, 1);
    assert_eq!(code(image), 0x1201);
    rig.gpu.unref(1).unwrap();
    rig.program
        .allocate(&mut rig.gpu, wish(1, RAM))
        .unwrap()
        .unwrap();
    rig.finish().unwrap();
}

#[test]
fn context_that_ends_gives_back_what_it_allocated() {
    let (mut rig, gpu) = on_files_with(options_with(Scope::Vm, Quota::BlobBytes, 2 * PAGE));
    for round in 0..3 {
        let mut other = BlobProgram::new(&mut rig.gpu, 2, 1001 + round).unwrap();
        other.allocate(&mut rig.gpu, wish(2, RAM)).unwrap().unwrap();
        assert_eq!(gpu.blobs(), 1);
        rig.gpu.ctx_destroy(2).unwrap();
        assert_eq!(gpu.blobs(), 0);
    }
    rig.finish().unwrap();
}

#[test]
fn commands_that_wait_for_the_gpu() {
    for scope in [Scope::Vm, Scope::Context] {
        let (mut rig, gpu) = on_files_with(options_with(scope, Quota::Jobs, 4));
        mapped(&mut rig, 1, 1, RAM);
        gpu.hold();
        let mut stream = StreamBuilder::default();
        for command in 0..6 {
            let place = rig.program.place(&rig.gpu, command * 16).unwrap();
            stream.push(opcode::FILL, place, &fill(1, (0, 4), 1), &[0u8; 0]);
        }
        let token = rig.program.submit(&mut rig.gpu, &stream).unwrap();
        rig.gpu.display_info().unwrap();
        let status = |rig: &coherd_tests::blob_rig::BlobRig, command: u32| {
            rig.program.reply(&rig.gpu, command * 16).unwrap().status
        };
        let deadline = rig.frontend.deadline();
        while status(&rig, 5).is_none() {
            assert!(!deadline.passed(), "no reply");
        }
        let over = Some(Status::OverQuota);
        let statuses: Vec<_> = (0..6).map(|command| status(&rig, command)).collect();
        assert_eq!(statuses, [None, None, None, None, over, over]);
        gpu.go_on();
        rig.program.wait(&mut rig.gpu, token).unwrap();
        assert_eq!(status(&rig, 3), Some(Status::Ok));
        let again = rig.program.fill(&mut rig.gpu, 1, (0, 4), 1).unwrap();
        assert_eq!(again, Ok(()));
        rig.finish().unwrap();
    }
}

#[test]
fn open_accesses() {
    for scope in [Scope::Vm, Scope::Context] {
        let (mut rig, _) = on_files_with(options_with(scope, Quota::Brackets, 2));
        mapped(&mut rig, 1, 1, RAM);
        let mut start = |access| rig.program.start(&mut rig.gpu, 1, access).unwrap();
        assert_eq!(start(Access::READ), Ok(()));
        assert_eq!(start(Access::WRITE), Ok(()));
        assert_eq!(start(Access::READ), Err(Status::OverQuota));
        let mut other = BlobProgram::new(&mut rig.gpu, 2, 1001).unwrap();
        rig.gpu.ctx_attach(2, 1).unwrap();
        let others = other.start(&mut rig.gpu, 1, Access::READ).unwrap();
        assert_eq!(others.is_err(), scope == Scope::Vm);
        rig.gpu.ctx_detach(2, 1).unwrap();
        rig.program
            .end(&mut rig.gpu, 1, Access::READ)
            .unwrap()
            .unwrap();
        let deadline = rig.frontend.deadline();
        while rig
            .program
            .start(&mut rig.gpu, 1, Access::READ)
            .unwrap()
            .is_err()
        {
            assert!(!deadline.passed(), "nothing is given back");
        }
        rig.finish().unwrap();
    }
}

#[test]
fn nothing_is_left_of_a_context_over_its_quotas() {
    let options = options_with(Scope::Context, Quota::BlobBytes, 8 * PAGE);
    let (mut rig, gpu) = on_files_with(options);
    blob(&mut rig, 1, 8, RAM);
    for _ in 0..50 {
        let over = rig.program.allocate(&mut rig.gpu, wish(1, RAM)).unwrap();
        assert_eq!(over.unwrap_err(), Status::OverQuota);
    }
    rig.finish().unwrap();
    assert!(gpu.wait_empty(Duration::from_secs(10)));
}
