//! Blobs in the window: the same bytes on both sides.

use coherd_tests::frontend::{Flavour, WindowError};
use coherd_tests::renderer::{FileKind, Operation, Recipe};

use crate::{CTX, PAGE, WITH_WINDOW, mappable, pattern, rig};

#[test]
fn guest_and_host_see_each_others_bytes() {
    for flavour in WITH_WINDOW {
        for file in [FileKind::Shm, FileKind::DmaBuf, FileKind::Opaque] {
            for size in [PAGE, 3 * PAGE, 1 << 20] {
                let mut rig = rig(flavour);
                let len = usize::try_from(size).unwrap();
                rig.gpu
                    .create_blob(&mappable(5, Recipe::new(file), size), &[])
                    .unwrap();
                assert!(rig.host.write(5, 0, &pattern(1, size)));
                rig.gpu.map_blob(5, 16 * PAGE).unwrap();
                let window = rig.frontend.window().unwrap();

                assert_eq!(window.read_vec(16 * PAGE, len).unwrap(), pattern(1, size));
                window.write(16 * PAGE, &pattern(2, size)).unwrap();

                assert_eq!(rig.host.read(5, 0, len).unwrap(), pattern(2, size));
                rig.finish().unwrap();
            }
        }
    }
}

#[test]
fn guest_sees_what_its_commands_did() {
    let mut rig = rig(Flavour::Qemu);
    for id in [1, 2] {
        let blob = mappable(id, Recipe::SHM, PAGE);
        rig.gpu.create_blob(&blob, &[]).unwrap();
        rig.gpu.map_blob(id, u64::from(id) * PAGE).unwrap();
    }
    let fill = Operation::Fill {
        resource_id: 1,
        byte: 7,
    };
    let copy = Operation::Copy { from: 1, to: 2 };

    let commands = [fill.to_bytes(), copy.to_bytes()].concat();
    rig.gpu.submit_3d(CTX, &commands).unwrap();

    let window = rig.frontend.window().unwrap();
    assert_eq!(window.read_vec(2 * PAGE, 4096).unwrap(), vec![7; 4096]);
    rig.finish().unwrap();
}

#[test]
fn opaque_file_is_mapped_behind_its_header() {
    for flavour in WITH_WINDOW {
        let mut rig = rig(flavour);
        let blob = mappable(1, Recipe::new(FileKind::Opaque), PAGE);
        rig.gpu.create_blob(&blob, &[]).unwrap();

        rig.gpu.map_blob(1, 0).unwrap();

        let mappings = rig.frontend.window().unwrap().mappings();
        assert_eq!(mappings.len(), 1);
        assert_eq!((mappings[0].fd_offset, mappings[0].len), (PAGE, PAGE));
        rig.finish().unwrap();
    }
}

#[test]
fn map_info_is_the_cacheability_and_nothing_else() {
    let mut rig = rig(Flavour::Crosvm);
    for (id, (raw, told)) in [(0x31, 1), (0x12, 2), (0x33, 3), (3, 3), (0xff01, 1)]
        .into_iter()
        .enumerate()
    {
        let id = u32::try_from(id).unwrap() + 1;
        let recipe = Recipe {
            map_info: raw,
            known: true,
            ..Recipe::SHM
        };
        rig.gpu
            .create_blob(&mappable(id, recipe, PAGE), &[])
            .unwrap();
        let map_info = rig.gpu.map_blob(id, u64::from(id) * PAGE).unwrap();
        assert_eq!(map_info, told, "{raw:#x}");
    }
    rig.finish().unwrap();
}

#[test]
fn unmapped_blob_keeps_its_bytes_and_can_be_mapped_elsewhere() {
    for flavour in WITH_WINDOW {
        let mut rig = rig(flavour);
        let blob = mappable(1, Recipe::SHM, 2 * PAGE);
        rig.gpu.create_blob(&blob, &[]).unwrap();
        rig.gpu.map_blob(1, 0).unwrap();
        let window = rig.frontend.window().unwrap();
        window.write(PAGE, b"still here").unwrap();

        rig.gpu.unmap_blob(1).unwrap();
        assert!(matches!(
            window.read_vec(0, 1),
            Err(WindowError::NotMapped { .. })
        ));
        rig.gpu.map_blob(1, 8 * PAGE).unwrap();

        assert_eq!(window.read_vec(9 * PAGE, 10).unwrap(), b"still here");
        assert_eq!(window.mappings().len(), 1);
        rig.finish().unwrap();
    }
}

#[test]
fn unref_of_a_mapped_blob_unmaps_it_before_it_is_answered() {
    for flavour in WITH_WINDOW {
        let mut rig = rig(flavour);
        for round in 0..3 {
            let blob = mappable(1, Recipe::SHM, PAGE);
            rig.gpu.create_blob(&blob, &[]).unwrap();
            rig.gpu.map_blob(1, 0).unwrap();
            let window = rig.frontend.window().unwrap();
            window.write(0, &[round]).unwrap();
            assert_eq!(rig.host.read(1, 0, 1).unwrap(), [round]);

            rig.gpu.unref(1).unwrap();

            assert!(window.mappings().is_empty());
            assert!(rig.host.blobs().is_empty());
        }
        rig.finish().unwrap();
    }
}

#[test]
fn blob_that_cannot_be_mapped_serves_the_gpu_and_refuses_the_map() {
    let mut rig = rig(Flavour::Qemu);
    let no_type = Recipe {
        map_info: 0x30,
        ..Recipe::SHM
    };
    for recipe in [
        Recipe::new(FileKind::Short),
        Recipe::new(FileKind::Shrinkable),
        Recipe::new(FileKind::ReadOnly),
        Recipe::new(FileKind::Private),
        no_type,
    ] {
        let blob = mappable(1, recipe, 2 * PAGE);
        rig.gpu.create_blob(&blob, &[]).unwrap();
        rig.gpu.ctx_attach(CTX, 1).unwrap();

        let refused = crate::code(rig.gpu.map_blob(1, 0));

        assert_eq!(refused, 0x1205, "{recipe:?}");
        assert!(rig.host.is_attached(CTX, 1));
        rig.gpu.unmap_blob(1).unwrap();
        rig.gpu.unref(1).unwrap();
    }
    assert!(rig.frontend.window().unwrap().mappings().is_empty());
    rig.finish().unwrap();
}
