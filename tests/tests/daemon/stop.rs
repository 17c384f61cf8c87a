//! A paused virtual machine goes on where it was, whenever the pause came.

use coherd_tests::driver::{Buffer, Gpu, QueueKind, Request, kind};
use coherd_tests::frontend::{Event, Flavour, Stage};
use coherd_tests::interrupt::{MOMENTS, interrupt};
use coherd_tests::renderer::{Operation, Recipe};
use vm_memory::Bytes;

use crate::{CTX, PAGE, WITH_WINDOW, mappable, pending_fence, rig};

#[test]
fn map_that_a_stop_interrupts_is_made_in_the_end() {
    for (flavour, stage) in MOMENTS {
        let mut rig = rig(flavour);
        rig.gpu
            .create_blob(&mappable(1, Recipe::SHM, PAGE), &[])
            .unwrap();
        assert!(rig.host.write(1, 0, b"intact"));
        let gate = rig.frontend.gate(stage);
        let map = rig.gpu.send_map_blob(1, 0).unwrap();

        let bases = interrupt(&rig, (stage, gate), |frontend| frontend.stop().unwrap());
        rig.frontend.resume(&bases).unwrap();

        let deadline = rig.frontend.deadline();
        let answer = rig.gpu.wait(map, deadline).unwrap();
        assert_eq!(Gpu::map_info(answer).unwrap(), 1, "{flavour:?} {stage:?}");
        let window = rig.frontend.window().unwrap();
        assert_eq!(window.read_vec(0, 6).unwrap(), b"intact");
        assert_eq!(window.mappings().len(), 1);
        rig.gpu.unmap_blob(1).unwrap();
        rig.finish().unwrap();
    }
}

#[test]
fn map_is_made_though_the_machine_was_paused_and_went_on_meanwhile() {
    for (flavour, stage) in MOMENTS {
        let mut rig = rig(flavour);
        rig.gpu
            .create_blob(&mappable(1, Recipe::SHM, PAGE), &[])
            .unwrap();
        let gate = rig.frontend.gate(stage);
        let map = rig.gpu.send_map_blob(1, 0).unwrap();

        interrupt(&rig, (stage, gate), |frontend| {
            let bases = frontend.stop().unwrap();
            frontend.resume(&bases).unwrap();
        });

        let answer = rig.gpu.wait(map, rig.frontend.deadline()).unwrap();
        assert_eq!(Gpu::map_info(answer).unwrap(), 1, "{flavour:?} {stage:?}");
        assert_eq!(rig.frontend.window().unwrap().mappings().len(), 1);
        rig.finish().unwrap();
    }
}

#[test]
fn unmap_and_unref_that_a_stop_interrupts_are_done_in_the_end() {
    for (flavour, stage) in MOMENTS {
        for request in [Request::unmap_blob(1), Request::unref(1)] {
            let mut rig = rig(flavour);
            let blob = mappable(1, Recipe::SHM, PAGE);
            rig.gpu.create_blob(&blob, &[]).unwrap();
            rig.gpu.map_blob(1, 0).unwrap();
            let gate = rig.frontend.gate(stage);
            let token = rig.gpu.submit(&request).unwrap();

            let bases = interrupt(&rig, (stage, gate), |frontend| frontend.stop().unwrap());
            rig.frontend.resume(&bases).unwrap();

            let deadline = rig.frontend.deadline();
            let answer = rig.gpu.wait(token, deadline).unwrap();
            assert_eq!(answer.code(), 0x1100, "{flavour:?} {stage:?} {request:?}");
            assert!(rig.frontend.window().unwrap().mappings().is_empty());
            let known = request.kind() == kind::RESOURCE_UNMAP_BLOB;
            assert_eq!(rig.host.blobs().contains(&1), known);
            rig.finish().unwrap();
        }
    }
}

#[test]
fn request_that_qemu_had_not_read_when_it_stopped_is_taken_back() {
    let mut rig = rig(Flavour::Qemu);
    rig.gpu
        .create_blob(&mappable(1, Recipe::SHM, PAGE), &[])
        .unwrap();
    let gate = rig.frontend.gate(Stage::Pending);
    let map = rig.gpu.send_map_blob(1, 0).unwrap();
    let mark = rig.frontend.log().mark();

    let bases = interrupt(&rig, (Stage::Pending, gate), |frontend| {
        frontend.stop().unwrap()
    });
    let deadline = rig.frontend.deadline();
    let refused = rig.frontend.log().wait(mark, deadline, |event| {
        matches!(event, Event::Refused { .. })
    });

    assert!(refused.is_some());
    assert!(rig.frontend.window().unwrap().mappings().is_empty());
    rig.frontend.resume(&bases).unwrap();
    let answer = rig.gpu.wait(map, rig.frontend.deadline()).unwrap();
    assert_eq!(Gpu::map_info(answer).unwrap(), 1);
    rig.finish().unwrap();
}

#[test]
fn fence_that_signals_during_a_pause_is_answered_after_it() {
    for flavour in WITH_WINDOW {
        let mut rig = rig(flavour);
        let (fence, token) = pending_fence(&mut rig);

        let bases = rig.frontend.stop().unwrap();
        rig.host.signal(fence);
        assert_eq!(rig.gpu.try_take(token).unwrap(), None);
        rig.frontend.resume(&bases).unwrap();

        let answer = rig.gpu.wait(token, rig.frontend.deadline()).unwrap();
        assert_eq!(answer.fence(), Some(fence));
        rig.finish().unwrap();
    }
}

#[test]
fn fence_that_is_pending_across_a_pause_signals_after_it() {
    for flavour in WITH_WINDOW {
        let mut rig = rig(flavour);
        let (fence, token) = pending_fence(&mut rig);

        let bases = rig.frontend.stop().unwrap();
        rig.frontend.resume(&bases).unwrap();
        rig.host.signal(fence);

        let answer = rig.gpu.wait(token, rig.frontend.deadline()).unwrap();
        assert_eq!(answer.fence(), Some(fence));
        rig.finish().unwrap();
    }
}

#[test]
fn commands_made_available_during_a_pause_are_served_after_it_on_both_queues() {
    for flavour in WITH_WINDOW {
        let mut rig = rig(flavour);
        let bases = rig.frontend.stop().unwrap();
        let control = rig.gpu.submit(&Request::new(0x9999)).unwrap();
        let moved = coherd_tests::driver::Cursor::default().request(kind::MOVE_CURSOR);
        let cursor = rig
            .gpu
            .send_on(QueueKind::Cursor, &moved.to_bytes(), 24)
            .unwrap();

        rig.frontend.resume(&bases).unwrap();

        let deadline = rig.frontend.deadline();
        assert_eq!(rig.gpu.wait(control, deadline).unwrap().code(), 0x1200);
        assert_eq!(rig.gpu.wait(cursor, deadline).unwrap().code(), 0x1100);
        rig.finish().unwrap();
    }
}

#[test]
fn guest_memory_is_not_written_while_the_machine_is_stopped() {
    for flavour in WITH_WINDOW {
        let mut rig = rig(flavour);
        let (_, response) = hold(&mut rig.gpu);
        assert!(rig.host.wait_holding(rig.frontend.deadline()));
        let memory = rig.frontend.memory().clone();

        rig.frontend.stop().unwrap();
        rig.host.release();
        // The daemon is through with the command when its threads have ended.
        rig.finish().unwrap();

        let mut bytes = [0; 24];
        memory.read_slice(&mut bytes, response.addr).unwrap();
        assert_eq!(bytes, [0xee; 24], "{flavour:?}");
    }
}

#[test]
fn command_that_a_stop_overtakes_is_answered_after_it() {
    for flavour in WITH_WINDOW {
        let mut rig = rig(flavour);
        let (head, response) = hold(&mut rig.gpu);
        assert!(rig.host.wait_holding(rig.frontend.deadline()));

        let bases = rig.frontend.stop().unwrap();
        rig.host.release();
        rig.frontend.resume(&bases).unwrap();
        rig.gpu.display_info().unwrap();

        let header = rig.gpu.read_buffer(response).unwrap();
        assert_eq!(header[..4], 0x1100u32.to_le_bytes(), "{head} {flavour:?}");
        rig.finish().unwrap();
    }
}

/// Submits a command that runs until the test lets it go, with its answer in a buffer of 0xee.
pub fn hold(gpu: &mut Gpu) -> (u16, Buffer) {
    let commands = Operation::Hold.to_bytes();
    let request = Request::submit_3d(CTX, &commands);
    let request = gpu.buffer(&request.to_bytes()).unwrap();
    let response = gpu.buffer(&[0xee; 24]).unwrap();
    let queue = gpu.queue(QueueKind::Control);
    let head = queue.add(&[request], &[response]).unwrap();
    gpu.kick(QueueKind::Control).unwrap();
    (head, response)
}
