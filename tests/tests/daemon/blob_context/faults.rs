//! The driver fails at each call in turn: a clear error each time, and nothing leaked.

use std::time::Duration;

use coherd_protocol::blob_context::Status;
use coherd_protocol::memory::{Access, MemoryProperties};
use coherd_tests::blob_gpu::{LINEAR, XR24};
use coherd_tests::blob_rig::BlobRig;
use coherd_tests::driver::blob_program::ImageWish;

use super::{RAM, VISIBLE, on_files, wish};
use crate::PAGE;

const INCOHERENT: MemoryProperties = VISIBLE.union(MemoryProperties::HOST_CACHED);

/// Uses everything that the format has, and goes on whatever fails. Returns what failed.
pub fn use_everything(rig: &mut BlobRig, first_id: u32) -> Vec<Status> {
    let mut failures = Vec::new();
    let gpu = &mut rig.gpu;
    let mut made = Vec::new();
    for (id, required) in (first_id..).zip([RAM, INCOHERENT]) {
        match rig.program.allocate(gpu, wish(2, required)).unwrap() {
            Ok(object) => {
                rig.program.create_blob(gpu, id, object).unwrap();
                made.push(id);
            }
            Err(status) => failures.push(status),
        }
    }
    let image = ImageWish {
        size: (16, 16),
        fourcc: XR24,
        modifiers: vec![LINEAR],
        required: RAM,
    };
    match rig.program.image(gpu, &image).unwrap() {
        Ok((blob_id, image)) => {
            let id = first_id + 2;
            rig.program
                .create_blob(gpu, id, (blob_id, image.memory))
                .unwrap();
            made.push(id);
        }
        Err(status) => failures.push(status),
    }
    let mut note = |result: Result<(), Status>| failures.extend(result.err());
    for id in &made {
        if rig
            .program
            .query(gpu, *id)
            .unwrap()
            .unwrap()
            .0
            .map_info
            .get()
            != 0
        {
            gpu.map_blob(*id, u64::from(id % 64) * 16 * PAGE).unwrap();
        }
        note(rig.program.fill(gpu, *id, (0, 64), 1).unwrap());
        for access in [Access::READ, Access::WRITE] {
            let started = rig.program.start(gpu, *id, access).unwrap();
            if started.is_ok() {
                note(rig.program.end(gpu, *id, access).unwrap());
            }
            note(started);
        }
    }
    for id in made.iter().skip(1) {
        note(rig.program.copy(gpu, (made[0], 0), (*id, 0), 64).unwrap());
    }
    for id in made {
        gpu.unref(id).unwrap();
    }
    failures
}

#[test]
fn every_call_that_fails_is_told_and_leaves_nothing() {
    let (mut rig, gpu) = on_files();
    assert_eq!(use_everything(&mut rig, 1), []);
    gpu.fail_after(usize::MAX, Status::Failed);
    assert_eq!(use_everything(&mut rig, 11), []);
    let calls = gpu.calls();
    assert!(calls.len() >= 18, "{calls:?}");
    for status in [
        Status::OutOfDeviceMemory,
        Status::OutOfHostMemory,
        Status::DeviceLost,
    ] {
        for (number, call) in calls.iter().enumerate() {
            gpu.fail_after(number, status);
            let failures = use_everything(&mut rig, 21);
            assert_eq!(failures, [status], "{call:?} {number}");
            assert_eq!(gpu.blobs(), 0, "{call:?} {number}");
        }
    }
    gpu.fail_after(usize::MAX, Status::Failed);
    assert_eq!(use_everything(&mut rig, 31), []);
    rig.finish().unwrap();
    assert!(gpu.wait_empty(Duration::from_secs(10)));
}
