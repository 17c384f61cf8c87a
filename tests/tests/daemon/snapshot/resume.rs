//! What goes on as if nothing had happened.

use std::sync::Arc;

use coherd::serve::Options;
use coherd_protocol::blob_context::command::opcode;
use coherd_protocol::gpu::Format;
use coherd_protocol::gpu::wire::Rect;
use coherd_protocol::memory::Access;
use coherd_tests::blob_gpu::MemoryGpu;
use coherd_tests::blob_rig::CTX;
use coherd_tests::driver::blob_program::{Wish, fill, silent};
use coherd_tests::driver::{Blob, Cursor, Transfer};
use coherd_tests::frontend::{Event, Flavour, Stage};

use super::{
    COMBINING, DEVICE, INCOHERENT, RAM, as_gpu_sees, blob, gpu_fills, guest_writes, mapped, place,
    rig, seen,
};
use crate::{PAGE, pattern};

const BOTH: [Flavour; 2] = [Flavour::Qemu, Flavour::Crosvm];

fn other() -> Arc<MemoryGpu> {
    Arc::new(MemoryGpu::new())
}

#[test]
fn memory_of_every_type_goes_on_with_its_bytes_and_mappings() {
    for flavour in BOTH {
        let (_, mut rig) = rig();
        for (id, required) in [(1, RAM), (2, COMBINING), (3, INCOHERENT)] {
            mapped(&mut rig, id, 3, required);
            guest_writes(&mut rig, id, PAGE, &pattern(1, PAGE));
        }
        blob(&mut rig, 4, 3, DEVICE);
        gpu_fills(&mut rig, 4, 2, 9);
        let told = rig.program.query(&mut rig.gpu, 2).unwrap().unwrap().0;

        let gpu = other();
        let moving = rig.save().unwrap();
        let mut rig = moving.load(&gpu, flavour, Options::default()).unwrap();

        for id in [1, 2, 3] {
            let expected = [vec![0; 4096], pattern(1, PAGE), vec![0; 4096]].concat();
            assert_eq!(seen(&rig, id, 3 * PAGE), expected, "resource {id}");
        }
        assert_eq!(as_gpu_sees(&mut rig, 4, 2, 1), [9; 4096]);
        assert_eq!(as_gpu_sees(&mut rig, 4, 0, 1), [0; 4096]);
        assert_eq!(as_gpu_sees(&mut rig, 3, 1, 1), pattern(1, PAGE));
        let again = rig.program.query(&mut rig.gpu, 2).unwrap().unwrap().0;
        assert_eq!(again, told);
        rig.gpu.unmap_blob(2).unwrap();
        rig.gpu.unref(2).unwrap();
        mapped(&mut rig, 5, 1, RAM);
        rig.finish().unwrap();
        assert_eq!(gpu.blobs(), 0);
    }
}

#[test]
fn bytes_that_only_the_gpu_wrote_are_in_the_state() {
    let (_, mut rig) = rig();
    mapped(&mut rig, 1, 2, INCOHERENT);
    gpu_fills(&mut rig, 1, 0, 7);
    // Nobody has invalidated.
    assert_eq!(seen(&rig, 1, PAGE), [0; 4096]);

    let moving = rig.save().unwrap();
    let mut rig = moving
        .load(&other(), Flavour::Crosvm, Options::default())
        .unwrap();

    mapped(&mut rig, 2, 1, RAM);
    assert_eq!(as_gpu_sees(&mut rig, 1, 0, 2), [7; 4096]);
    let (program, gpu) = (&mut rig.program, &mut rig.gpu);
    program.start(gpu, 1, Access::READ).unwrap().unwrap();
    assert_eq!(seen(&rig, 1, PAGE), [7; 4096]);
    rig.finish().unwrap();
}

#[test]
fn access_that_has_begun_goes_on_and_ends_once() {
    let (_, mut rig) = rig();
    mapped(&mut rig, 1, 1, INCOHERENT);
    let begun = rig.program.start(&mut rig.gpu, 1, Access::WRITE);
    begun.unwrap().unwrap();
    let window = rig.frontend.window().unwrap();
    window.write(place(1), &pattern(3, PAGE / 2)).unwrap();

    let moving = rig.save().unwrap();
    let mut rig = moving
        .load(&other(), Flavour::Crosvm, Options::default())
        .unwrap();

    let window = rig.frontend.window().unwrap();
    let half = PAGE / 2;
    window.write(place(1) + half, &pattern(4, half)).unwrap();
    let ended = rig.program.end(&mut rig.gpu, 1, Access::WRITE);
    ended.unwrap().unwrap();
    mapped(&mut rig, 2, 1, RAM);
    let expected = [pattern(3, half), pattern(4, half)].concat();
    assert_eq!(as_gpu_sees(&mut rig, 1, 0, 2), expected);
    let again = rig.program.end(&mut rig.gpu, 1, Access::WRITE).unwrap();
    assert!(again.is_err());
    rig.finish().unwrap();
}

#[test]
fn pictures_scanouts_cursors_uuids_and_guest_blobs_go_on() {
    let (_, mut rig) = rig();
    let whole = Rect {
        x: 0.into(),
        y: 0.into(),
        width: 64.into(),
        height: 64.into(),
    };
    let bytes = pattern(5, 64 * 64 * 4);
    let upper = rig.gpu.buffer(&bytes[..8192]).unwrap();
    let lower = rig.gpu.buffer(&bytes[8192..]).unwrap();
    rig.gpu.create_2d(1, Format::B8G8R8A8, 64, 64).unwrap();
    rig.gpu.attach_backing(1, &[upper, lower]).unwrap();
    rig.gpu.transfer_to_host_2d(1, whole, 0).unwrap();
    rig.gpu.set_scanout(0, 1, whole).unwrap();
    rig.gpu.ctx_attach(CTX, 1).unwrap();
    let cursor = Cursor {
        resource_id: 1,
        x: -3,
        y: 7,
        ..Cursor::default()
    };
    rig.gpu.update_cursor(&cursor).unwrap();
    let uuid = rig.gpu.assign_uuid(1).unwrap();
    let pages = rig.gpu.buffer(&pattern(6, PAGE)).unwrap();
    let guest = Blob {
        resource_id: 2,
        mem: 1,
        size: PAGE,
        ..Blob::default()
    };
    rig.gpu.create_blob(&guest, &[pages]).unwrap();

    let moving = rig.save().unwrap();
    let mut rig = moving
        .load(&other(), Flavour::Qemu, Options::default())
        .unwrap();

    assert_eq!(rig.gpu.assign_uuid(1).unwrap(), uuid);
    let memory = rig.gpu.memory();
    vm_memory::Bytes::write_slice(memory, &[0; 8192], upper.addr).unwrap();
    vm_memory::Bytes::write_slice(memory, &[0; 8192], lower.addr).unwrap();
    let back = Transfer {
        ctx_id: CTX,
        resource_id: 1,
        region: [0, 0, 0, 64, 64, 1],
        ..Transfer::default()
    };
    rig.gpu.transfer_from_host_3d(&back).unwrap();
    let read = [upper, lower].map(|buffer| rig.gpu.read_buffer(buffer).unwrap());
    assert_eq!(read.concat(), bytes);
    assert_eq!(rig.gpu.read_buffer(pages).unwrap(), pattern(6, PAGE));
    rig.gpu.flush(1, whole).unwrap();
    rig.gpu.detach_backing(1).unwrap();
    rig.gpu.unref(1).unwrap();
    rig.gpu.unref(2).unwrap();
    rig.finish().unwrap();
}

#[test]
fn object_that_is_no_resource_yet_becomes_one() {
    let (_, mut rig) = rig();
    let wish = Wish {
        size: PAGE,
        required: RAM,
        ..Wish::default()
    };
    let object = rig.program.allocate(&mut rig.gpu, wish).unwrap().unwrap();

    let moving = rig.save().unwrap();
    let mut rig = moving
        .load(&other(), Flavour::Crosvm, Options::default())
        .unwrap();

    rig.program.create_blob(&mut rig.gpu, 1, object).unwrap();
    rig.gpu.map_blob(1, place(1)).unwrap();
    assert_eq!(seen(&rig, 1, PAGE), [0; 4096]);
    rig.finish().unwrap();
}

#[test]
fn work_of_the_gpu_is_done_before_the_state_is_saved_and_its_fence_comes_after() {
    let (gpu, mut rig) = rig();
    mapped(&mut rig, 1, 1, RAM);
    gpu.hold();
    let stream = silent(opcode::FILL, &fill(1, (0, PAGE), 0x0505_0505));
    let token = rig.program.submit(&mut rig.gpu, &stream).unwrap();
    assert!(gpu.wait_given(1, rig.frontend.timeout()));
    let held = Arc::clone(&gpu);
    let bases = rig.frontend.stop().unwrap();
    rig.frontend.resume(&bases).unwrap();
    let moving = std::thread::scope(|scope| {
        scope.spawn(|| held.go_on());
        rig.save().unwrap()
    });

    let mut rig = moving
        .load(&other(), Flavour::Crosvm, Options::default())
        .unwrap();

    rig.program.wait(&mut rig.gpu, token).unwrap();
    assert_eq!(seen(&rig, 1, PAGE), [5; 4096]);
    rig.finish().unwrap();
}

#[test]
fn command_that_a_stop_caught_in_the_middle_is_carried_out_by_the_next_daemon() {
    let (_, mut rig) = rig();
    mapped(&mut rig, 1, 1, RAM);
    blob(&mut rig, 2, 1, RAM);
    let gate = rig.frontend.gate(Stage::Pending);
    let token = rig.gpu.send_map_blob(2, place(2)).unwrap();
    assert!(gate.wait_held(rig.frontend.deadline()));
    let mark = rig.frontend.log().mark();
    let bases = rig.frontend.stop().unwrap();
    gate.open();
    let deadline = rig.frontend.deadline();
    let is_refused = |event: &Event| matches!(event, Event::Refused { .. });
    let refused = rig.frontend.log().wait(mark, deadline, is_refused);
    assert!(refused.is_some());
    let moving = rig.save_stopped(bases).unwrap();

    let mut rig = moving
        .load(&other(), Flavour::Crosvm, Options::default())
        .unwrap();

    let deadline = rig.frontend.deadline();
    let answer = rig.gpu.wait(token, deadline).unwrap();
    assert_eq!(coherd_tests::driver::Gpu::map_info(answer).unwrap(), 1);
    assert_eq!(seen(&rig, 2, PAGE), [0; 4096]);
    rig.finish().unwrap();
}

#[test]
fn device_that_was_saved_goes_on_where_it_is() {
    let (_, mut rig) = rig();
    mapped(&mut rig, 1, 1, INCOHERENT);
    guest_writes(&mut rig, 1, 0, &pattern(8, PAGE));
    let moving = rig.save().unwrap();
    assert!(moving.state.starts_with(b"COHDSNAP"));

    let mut rig = moving.stay().unwrap();

    assert_eq!(seen(&rig, 1, PAGE), pattern(8, PAGE));
    mapped(&mut rig, 2, 1, RAM);
    rig.finish().unwrap();
}

#[test]
fn driver_that_starts_anew_after_a_load_finds_a_new_device() {
    let (_, mut rig) = rig();
    mapped(&mut rig, 1, 1, RAM);
    let moving = rig.save().unwrap();
    let gpu = other();
    let rig = moving
        .load(&gpu, Flavour::Crosvm, Options::default())
        .unwrap();
    rig.frontend.reboot().unwrap();
    let mut driver = coherd_tests::driver::Gpu::new(&rig.frontend).unwrap();
    driver.ctx_create(1, 28, "again").unwrap();
    assert_eq!(gpu.blobs(), 0);
    drop(driver);
    rig.finish().unwrap();
}
