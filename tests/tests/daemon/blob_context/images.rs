//! Images by format and modifier.

use coherd_protocol::blob_context::Status;
use coherd_protocol::blob_context::capset::CapsetFlags;
use coherd_protocol::blob_context::reply::MemoryFlags;
use coherd_tests::blob_gpu::{LINEAR, TILED, XR24};
use coherd_tests::driver::BlobProgram;
use coherd_tests::driver::blob_program::ImageWish;

use super::{RAM, mapped, on_each_gpu, on_files, place, read};
use crate::PAGE;

fn wish(modifiers: &[u64]) -> ImageWish {
    ImageWish {
        size: (64, 32),
        fourcc: XR24,
        modifiers: modifiers.to_vec(),
        required: RAM,
    }
}

#[test]
fn linear_image_is_mapped_filled_and_copied_as_bytes() {
    on_each_gpu(|mut rig| {
        let capset = BlobProgram::capset(&mut rig.gpu).unwrap();
        let created = rig.program.image(&mut rig.gpu, &wish(&[LINEAR])).unwrap();
        let linear = |format: &coherd_protocol::blob_context::capset::FormatModifier| {
            (format.fourcc.get(), format.modifier.get()) == (XR24, LINEAR)
        };
        if !capset.flags().contains(CapsetFlags::IMAGES) {
            assert_eq!(created.unwrap_err(), Status::Unsupported);
            return rig.finish().unwrap();
        }
        assert!(capset.formats.iter().any(linear));
        let (blob_id, image) = created.unwrap();
        let layout = image.layout;
        let plane = layout.planes[0];
        assert_eq!(
            (layout.modifier.get(), layout.plane_count.get()),
            (LINEAR, 1)
        );
        assert!(plane.pitch.get() >= 256);
        assert!(plane.offset.get() + plane.size.get() <= image.memory.size.get());
        assert!(image.memory.size.get().is_multiple_of(PAGE));
        rig.program
            .create_blob(&mut rig.gpu, 1, (blob_id, image.memory))
            .unwrap();
        mapped(&mut rig, 2, 1, RAM);
        let end = plane.offset.get() + plane.pitch.get() * 32;
        let filled = rig
            .program
            .fill(&mut rig.gpu, 1, (0, end / 4 * 4), 0x5a5a_5a5a);
        match filled.unwrap() {
            // Memory of the image's own cannot be seen as a buffer.
            Err(status) => assert_eq!(status, Status::Unsupported),
            Ok(()) => {
                let copied = rig.program.copy(&mut rig.gpu, (1, 0), (2, 0), 256);
                copied.unwrap().unwrap();
                assert_eq!(read(&rig, 2, 0, 256), [0x5a; 256]);
            }
        }
        let flags = MemoryFlags::from_bits(image.memory.flags.get()).unwrap();
        if flags.contains(MemoryFlags::MAPPABLE) {
            let told = rig.gpu.map_blob(1, place(1)).unwrap();
            assert_eq!(told, image.memory.map_info.get());
        }
        rig.finish().unwrap();
    });
}

#[test]
fn modifier_is_one_of_those_that_were_asked_for() {
    let (mut rig, _) = on_files();
    for (modifiers, chosen) in [
        (&[][..], TILED),
        (&[LINEAR], LINEAR),
        (&[LINEAR, TILED, 99], TILED),
    ] {
        let created = rig.program.image(&mut rig.gpu, &wish(modifiers));
        let (_, image) = created.unwrap().unwrap();
        assert_eq!(image.layout.modifier.get(), chosen);
    }
    rig.finish().unwrap();
}

#[test]
fn image_that_is_not_linear_has_no_bytes_for_copies() {
    let (mut rig, _) = on_files();
    let created = rig.program.image(&mut rig.gpu, &wish(&[TILED]));
    let (blob_id, image) = created.unwrap().unwrap();
    rig.program
        .create_blob(&mut rig.gpu, 1, (blob_id, image.memory))
        .unwrap();
    mapped(&mut rig, 2, 2, RAM);
    let unsupported = Err(Status::Unsupported);
    let filled = rig.program.fill(&mut rig.gpu, 1, (0, 64), 1);
    assert_eq!(filled.unwrap(), unsupported);
    for (from, to) in [(1, 2), (2, 1)] {
        let copied = rig.program.copy(&mut rig.gpu, (from, 0), (to, 0), 64);
        assert_eq!(copied.unwrap(), unsupported);
    }
    rig.finish().unwrap();
}

#[test]
fn images_that_cannot_be_have_their_status() {
    let (mut rig, gpu) = on_files();
    let other = |wish: ImageWish| wish;
    let statuses = [
        (
            ImageWish {
                fourcc: 1,
                ..wish(&[])
            },
            Status::UnsupportedFormat,
        ),
        (wish(&[99]), Status::UnsupportedModifier),
        (
            ImageWish {
                size: (0, 1),
                ..wish(&[])
            },
            Status::Invalid,
        ),
        (
            ImageWish {
                size: (1, 4097),
                ..wish(&[])
            },
            Status::Invalid,
        ),
        (wish(&[1; 65]), Status::Invalid),
    ];
    for (wish, status) in statuses.map(|(wish, status)| (other(wish), status)) {
        let created = rig.program.image(&mut rig.gpu, &wish).unwrap();
        assert_eq!(created.unwrap_err(), status, "{wish:?}");
        assert_eq!(gpu.blobs(), 0);
    }
    rig.finish().unwrap();
}

#[test]
fn formats_that_vulkan_does_not_have_are_told_apart_from_modifiers() {
    let Some(vulkan) = coherd_tests::blob_rig::vulkan() else {
        return;
    };
    let mut rig = coherd_tests::blob_rig::BlobRig::new(&vulkan).unwrap();
    let capset = BlobProgram::capset(&mut rig.gpu).unwrap();
    if capset.flags().contains(CapsetFlags::IMAGES) {
        let unknown = ImageWish {
            fourcc: 1,
            ..wish(&[])
        };
        let created = rig.program.image(&mut rig.gpu, &unknown).unwrap();
        assert_eq!(created.unwrap_err(), Status::UnsupportedFormat);
        let strange = wish(&[0x00ff_ffff_ffff_fffe]);
        let created = rig.program.image(&mut rig.gpu, &strange).unwrap();
        assert_eq!(created.unwrap_err(), Status::UnsupportedModifier);
    }
    rig.finish().unwrap();
}
