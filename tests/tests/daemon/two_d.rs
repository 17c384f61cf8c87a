//! A framebuffer, a monitor and a cursor.

use coherd::device::display::{Mode, Outputs};
use coherd::serve::Options;
use coherd_protocol::gpu::Format;
use coherd_protocol::gpu::wire::{Rect, SetScanoutBlob};
use coherd_tests::driver::{Blob, Buffer, Cursor};
use coherd_tests::frontend::{Config, Flavour};
use coherd_tests::renderer::Recipe;
use coherd_tests::rig::Rig;
use vm_memory::GuestAddress;

use crate::{PAGE, code, mappable, pattern, rig};

fn rect(x: u32, y: u32, width: u32, height: u32) -> Rect {
    Rect {
        x: x.into(),
        y: y.into(),
        width: width.into(),
        height: height.into(),
    }
}

#[test]
fn frame_goes_all_the_way_to_the_screen() {
    for flavour in [Flavour::Qemu, Flavour::Crosvm, Flavour::Libkrun] {
        let mut rig = Rig::new(flavour).unwrap();
        let (width, height) = (64, 48);
        let whole = rect(0, 0, width, height);
        let bytes = u64::from(width * height) * 4;
        let upper = rig.gpu.buffer(&pattern(1, bytes / 2)).unwrap();
        let lower = rig.gpu.buffer(&pattern(2, bytes / 2)).unwrap();

        rig.gpu
            .create_2d(1, Format::B8G8R8X8, width, height)
            .unwrap();
        rig.gpu.attach_backing(1, &[upper, lower]).unwrap();
        rig.gpu.set_scanout(0, 1, whole).unwrap();
        rig.gpu.transfer_to_host_2d(1, whole, 0).unwrap();
        rig.gpu.flush(1, whole).unwrap();
        rig.gpu.set_scanout(0, 0, rect(0, 0, 0, 0)).unwrap();
        rig.gpu.detach_backing(1).unwrap();
        rig.gpu.unref(1).unwrap();
        rig.finish().unwrap();
    }
}

#[test]
fn transfer_stays_inside_image_and_backing() {
    let mut rig = rig(Flavour::Qemu);
    let backing = rig.gpu.buffer(&[0; 4096]).unwrap();
    rig.gpu.create_2d(1, Format::R8G8B8A8, 32, 32).unwrap();
    let whole = rect(0, 0, 32, 32);
    assert_eq!(code(rig.gpu.transfer_to_host_2d(1, whole, 0)), 0x1200);
    rig.gpu.attach_backing(1, &[backing]).unwrap();

    for (area, offset, ok) in [
        (whole, 0, true),
        (rect(31, 31, 1, 1), 4092, true),
        (rect(0, 31, 32, 1), 3968, true),
        (whole, 4, false),
        (rect(31, 31, 1, 1), 4093, false),
        (rect(0, 0, 33, 1), 0, false),
        (rect(1, 0, 32, 1), 0, false),
        (rect(0, 0, 0, 1), 0, false),
        (rect(u32::MAX, 0, 2, 1), 0, false),
        (whole, u64::MAX, false),
    ] {
        let result = rig.gpu.transfer_to_host_2d(1, area, offset);
        match ok {
            true => result.unwrap(),
            false => assert_eq!(code(result), 0x1205, "{area:?} at {offset}"),
        }
    }
    rig.finish().unwrap();
}

#[test]
fn backing_outside_memory_is_refused_and_a_good_one_can_follow() {
    let mut rig = rig(Flavour::Crosvm);
    let good = rig.gpu.buffer(&[0; 4096]).unwrap();
    rig.gpu.create_2d(1, Format::B8G8R8A8, 32, 32).unwrap();
    for addr in [1 << 30, (64 << 20) - 1, u64::MAX] {
        let bad = Buffer {
            addr: GuestAddress(addr),
            len: 4096,
        };
        assert_eq!(code(rig.gpu.attach_backing(1, &[good, bad])), 0x1200);
    }
    rig.gpu.attach_backing(1, &[good]).unwrap();
    assert_eq!(code(rig.gpu.attach_backing(1, &[good])), 0x1200);
    rig.gpu.detach_backing(1).unwrap();
    assert_eq!(code(rig.gpu.detach_backing(1)), 0x1200);
    rig.finish().unwrap();
}

#[test]
fn images_have_bounds_in_size_and_in_sum() {
    let mut rig = rig(Flavour::Qemu);
    let format = Format::B8G8R8X8;
    for (width, height) in [(0, 1), (1, 0), (16385, 1), (u32::MAX, u32::MAX)] {
        assert_eq!(code(rig.gpu.create_2d(1, format, width, height)), 0x1205);
    }
    assert_eq!(code(rig.gpu.create_2d(1, format, 16384, 16384)), 0x1201);
    rig.gpu.create_2d(1, format, 16384, 1).unwrap();
    assert_eq!(code(rig.gpu.create_2d(1, format, 16, 16)), 0x1203);
    rig.finish().unwrap();
}

#[test]
fn display_has_one_monitor_of_sixteen() {
    let options = Options {
        outputs: Outputs::new(1, &[Mode::new(1920, 1080).unwrap()]).unwrap(),
        ..Options::default()
    };
    let mut rig = Rig::with(Config::new(Flavour::Qemu), options).unwrap();
    let displays = rig.gpu.display_info().unwrap();
    assert_eq!(displays.len(), 16);
    assert_eq!(displays[0].rect, rect(0, 0, 1920, 1080));
    assert_eq!(displays[0].enabled.get(), 1);
    assert!(
        displays[1..]
            .iter()
            .all(|display| display.enabled.get() == 0)
    );
    rig.finish().unwrap();
}

#[test]
fn edid_is_whole_and_names_the_size() {
    let mut rig = rig(Flavour::Qemu);
    let edid = rig.gpu.edid(0).unwrap();
    assert_eq!(edid.len(), 128);
    assert_eq!(edid[..8], [0, 255, 255, 255, 255, 255, 255, 0]);
    let sum = edid.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    assert_eq!(sum, 0);
    let timing = &edid[54..72];
    let side = |low: u8, high: u8| u32::from(low) | u32::from(high & 0xf0) << 4;
    assert_eq!(side(timing[2], timing[4]), 1280);
    assert_eq!(side(timing[5], timing[7]), 800);
    assert_eq!(code(rig.gpu.edid(1)), 0x1205);
    rig.finish().unwrap();
}

#[test]
fn scanout_shows_only_what_is_there() {
    let mut rig = rig(Flavour::Qemu);
    let backing = rig.gpu.buffer(&[0; 4096]).unwrap();
    rig.gpu.create_2d(1, Format::B8G8R8X8, 32, 32).unwrap();
    let whole = rect(0, 0, 32, 32);
    assert_eq!(code(rig.gpu.set_scanout(0, 1, whole)), 0x1200);
    rig.gpu.attach_backing(1, &[backing]).unwrap();

    assert_eq!(code(rig.gpu.set_scanout(1, 1, whole)), 0x1202);
    assert_eq!(code(rig.gpu.set_scanout(0, 2, whole)), 0x1203);
    assert_eq!(code(rig.gpu.set_scanout(0, 1, rect(1, 0, 32, 32))), 0x1205);
    assert_eq!(code(rig.gpu.set_scanout(0, 1, rect(0, 0, 15, 32))), 0x1205);
    assert_eq!(code(rig.gpu.flush(1, rect(0, 0, 33, 1))), 0x1205);
    assert_eq!(code(rig.gpu.flush(2, whole)), 0x1203);
    rig.gpu.set_scanout(0, 1, whole).unwrap();
    rig.gpu.unref(1).unwrap();
    rig.finish().unwrap();
}

#[test]
fn blob_is_shown_if_the_picture_fits_into_it() {
    let mut rig = rig(Flavour::Qemu);
    let guest = Blob {
        mem: 1,
        blob_id: 0,
        ..mappable(1, Recipe::SHM, PAGE)
    };
    let page = rig.gpu.buffer(&[0; 4096]).unwrap();
    rig.gpu.create_blob(&guest, &[page]).unwrap();
    rig.gpu
        .create_blob(&mappable(2, Recipe::SHM, PAGE), &[])
        .unwrap();
    let picture = |resource_id: u32, stride: u32, offset: u32, format: u32| SetScanoutBlob {
        rect: rect(0, 0, 32, 32),
        scanout_id: 0.into(),
        resource_id: resource_id.into(),
        width: 32.into(),
        height: 32.into(),
        format: format.into(),
        padding: 0.into(),
        strides: [stride, 0, 0, 0].map(Into::into),
        offsets: [offset, 0, 0, 0].map(Into::into),
    };

    for id in [1, 2] {
        rig.gpu.set_scanout_blob(&picture(id, 128, 0, 2)).unwrap();
        rig.gpu.flush(id, rect(0, 0, 32, 32)).unwrap();
    }
    for (stride, offset, format) in [(127, 0, 2), (129, 0, 2), (128, 4, 2), (128, 0, 99)] {
        let picture = picture(1, stride, offset, format);
        assert_eq!(code(rig.gpu.set_scanout_blob(&picture)), 0x1205);
    }
    assert_eq!(
        code(rig.gpu.set_scanout_blob(&picture(9, 128, 0, 2))),
        0x1203
    );
    rig.gpu.set_scanout_blob(&picture(0, 0, 0, 0)).unwrap();
    rig.finish().unwrap();
}

#[test]
fn cursor_is_64_by_64_and_may_leave_the_screen() {
    let mut rig = rig(Flavour::Crosvm);
    rig.gpu.create_2d(1, Format::B8G8R8A8, 64, 64).unwrap();
    let cursor = Cursor {
        x: -20,
        y: -3,
        resource_id: 1,
        ..Cursor::default()
    };
    rig.gpu.update_cursor(&cursor).unwrap();
    rig.gpu.move_cursor(&cursor).unwrap();
    rig.gpu.update_cursor(&Cursor::default()).unwrap();
    rig.finish().unwrap();
}

#[test]
fn uuid_of_a_resource_stays_the_same() {
    let mut rig = rig(Flavour::Qemu);
    for id in [1, 2] {
        rig.gpu.create_2d(id, Format::B8G8R8A8, 16, 16).unwrap();
    }
    let first = rig.gpu.assign_uuid(1).unwrap();
    assert_eq!(rig.gpu.assign_uuid(1).unwrap(), first);
    assert_ne!(rig.gpu.assign_uuid(2).unwrap(), first);
    assert_eq!(code(rig.gpu.assign_uuid(3)), 0x1203);
    rig.finish().unwrap();
}
