//! A guest that resets the device finds it as new, whenever the reset came.

use coherd_tests::driver::{Gpu, Request};
use coherd_tests::frontend::{Flavour, Stage};
use coherd_tests::interrupt::{MOMENTS, interrupt};
use coherd_tests::renderer::{CAPSET, Recipe};
use coherd_tests::rig::Rig;
use vm_memory::Bytes;

use crate::stop::hold;
use crate::{CTX, PAGE, WITH_WINDOW, mappable, pending_fence, rig, with_context};

/// The new driver uses the numbers and offsets of the old one.
fn check_like_new(rig: &mut Rig) {
    rig.gpu.ctx_create(CTX, CAPSET, "again").unwrap();
    for id in [1, 2] {
        let offset = u64::from(id - 1) * PAGE;
        rig.gpu
            .create_blob(&mappable(id, Recipe::SHM, PAGE), &[])
            .unwrap();
        rig.gpu.map_blob(id, offset).unwrap();
        let window = rig.frontend.window().unwrap();
        assert_eq!(window.read_vec(offset, 3).unwrap(), [0; 3]);
        window.write(offset, b"new").unwrap();
        assert_eq!(rig.host.read(id, 0, 3).unwrap(), b"new");
    }
    assert_eq!(rig.host.contexts(), [CTX]);
    assert_eq!(rig.host.blobs(), [1, 2]);
}

#[test]
fn reset_in_the_middle_of_a_map_leaves_a_clean_device() {
    for (flavour, stage) in MOMENTS {
        let mut rig = rig(flavour);
        rig.gpu
            .create_blob(&mappable(1, Recipe::SHM, PAGE), &[])
            .unwrap();
        let gate = rig.frontend.gate(stage);
        rig.gpu.send_map_blob(1, 0).unwrap();

        interrupt(&rig, (stage, gate), |frontend| frontend.reboot().unwrap());
        rig.gpu = Gpu::new(&rig.frontend).unwrap();

        check_like_new(&mut rig);
        assert_eq!(rig.frontend.window().unwrap().mappings().len(), 2);
        rig.finish().unwrap();
    }
}

#[test]
fn reset_in_the_middle_of_an_unmap_or_unref_leaves_a_clean_device() {
    for (flavour, stage) in MOMENTS {
        for request in [Request::unmap_blob(1), Request::unref(1)] {
            let mut rig = rig(flavour);
            let blob = mappable(1, Recipe::SHM, 2 * PAGE);
            rig.gpu.create_blob(&blob, &[]).unwrap();
            rig.gpu.map_blob(1, 0).unwrap();
            let gate = rig.frontend.gate(stage);
            rig.gpu.submit(&request).unwrap();

            interrupt(&rig, (stage, gate), |frontend| frontend.reboot().unwrap());
            rig.gpu = Gpu::new(&rig.frontend).unwrap();

            check_like_new(&mut rig);
            rig.finish().unwrap();
        }
    }
}

#[test]
fn map_of_an_old_driver_is_not_made_for_a_new_one() {
    let mut rig = rig(Flavour::Qemu);
    rig.gpu
        .create_blob(&mappable(1, Recipe::SHM, PAGE), &[])
        .unwrap();
    let gate = rig.frontend.gate(Stage::Pending);
    rig.gpu.send_map_blob(1, 0).unwrap();

    interrupt(&rig, (Stage::Pending, gate), |frontend| {
        frontend.reboot().unwrap();
    });
    rig.gpu = Gpu::new(&rig.frontend).unwrap();

    rig.gpu.display_info().unwrap();
    assert!(rig.frontend.window().unwrap().mappings().is_empty());
    rig.finish().unwrap();
}

#[test]
fn reset_frees_what_the_guest_held() {
    for flavour in WITH_WINDOW {
        let mut rig = rig(flavour);
        for id in 1..=3 {
            let blob = mappable(id, Recipe::SHM, PAGE);
            rig.gpu.create_blob(&blob, &[]).unwrap();
            rig.gpu.ctx_attach(CTX, id).unwrap();
            rig.gpu.map_blob(id, u64::from(id) * PAGE).unwrap();
        }

        rig.reboot().unwrap();
        rig.gpu.display_info().unwrap();

        assert!(rig.host.contexts().is_empty());
        assert!(rig.host.blobs().is_empty());
        check_like_new(&mut rig);
        rig.finish().unwrap();
    }
}

#[test]
fn answer_of_an_old_driver_is_not_written_to_the_memory_of_a_new_one() {
    for flavour in WITH_WINDOW {
        let mut rig = rig(flavour);
        // The new driver starts with the pages that the old one started with.
        rig.gpu.buffer(&[0; 64 << 10]).unwrap();
        let (_, response) = hold(&mut rig.gpu);
        assert!(rig.host.wait_holding(rig.frontend.deadline()));

        rig.reboot().unwrap();
        rig.host.release();
        rig.gpu.display_info().unwrap();

        let mut bytes = [0; 24];
        let memory = rig.frontend.memory();
        memory.read_slice(&mut bytes, response.addr).unwrap();
        assert_eq!(bytes, [0xee; 24], "{flavour:?}");
        rig.finish().unwrap();
    }
}

#[test]
fn fence_of_an_old_driver_completes_nothing_of_a_new_one() {
    let mut rig = rig(Flavour::Qemu);
    let (old, _) = pending_fence(&mut rig);
    hold(&mut rig.gpu);
    assert!(rig.host.wait_holding(rig.frontend.deadline()));

    // The device thread finds the reset, the late signal and the new commands at once.
    rig.reboot().unwrap();
    rig.host.signal(old);
    rig.gpu
        .submit(&Request::ctx_create(CTX, CAPSET, "new"))
        .unwrap();
    let fence = rig.gpu.next_fence(old.timeline);
    let token = rig.gpu.submit_3d_fenced(CTX, &[], fence).unwrap();
    rig.host.release();

    // Whatever was to be answered before this is.
    rig.gpu.display_info().unwrap();
    assert_eq!(rig.gpu.try_take(token).unwrap(), None);
    rig.host
        .fences()
        .into_iter()
        .for_each(|new| rig.host.signal(new));
    let answer = rig.gpu.wait(token, rig.frontend.deadline()).unwrap();
    assert_eq!(answer.fence(), Some(fence));
    rig.finish().unwrap();
}

#[test]
fn pending_fences_are_forgotten_by_a_reset() {
    for flavour in WITH_WINDOW {
        let mut rig = rig(flavour);
        let (fence, _) = pending_fence(&mut rig);

        rig.frontend.reset().unwrap();
        rig.host.signal(fence);
        rig.frontend.start().unwrap();
        rig.gpu = Gpu::new(&rig.frontend).unwrap();

        let mut rig = with_context(rig);
        rig.gpu.display_info().unwrap();
        rig.finish().unwrap();
    }
}

#[test]
fn driver_without_the_device_features_is_refused_what_needs_them() {
    let mut rig = rig(Flavour::Qemu);
    rig.frontend.set_guest_features(1 << 32);
    rig.reboot().unwrap();

    let refused = crate::code(rig.gpu.ctx_create(CTX, CAPSET, "3d"));
    assert_eq!(refused, 0x1200);
    let blob = mappable(1, Recipe::SHM, PAGE);
    assert_eq!(crate::code(rig.gpu.create_blob(&blob, &[])), 0x1205);
    rig.gpu.display_info().unwrap();
    rig.finish().unwrap();
}
