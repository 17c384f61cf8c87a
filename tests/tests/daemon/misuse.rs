//! Maps that must not be made: the guest gets a code, the VMM hears nothing.

use coherd::serve::Options;
use coherd_tests::driver::Blob;
use coherd_tests::frontend::{Config, Event};
use coherd_tests::renderer::Recipe;
use coherd_tests::rig::Rig;

use crate::{PAGE, WITH_WINDOW, code, mappable, mappings, rig, with_context};

/// Requests the VMM was sent.
fn requests(rig: &Rig) -> usize {
    let events = rig.frontend.log().events().into_iter();
    events
        .filter(|event| matches!(event, Event::Taken { .. }))
        .count()
}

#[test]
fn map_at_a_place_that_does_not_fit_is_refused() {
    for flavour in WITH_WINDOW {
        let mut rig = rig(flavour);
        let size = rig.frontend.window().unwrap().size();
        for id in [1, 2] {
            let blob = mappable(id, Recipe::SHM, 4 * PAGE);
            rig.gpu.create_blob(&blob, &[]).unwrap();
        }
        rig.gpu.map_blob(1, 8 * PAGE).unwrap();
        let before = requests(&rig);

        for offset in [
            1,
            PAGE / 2,
            5 * PAGE,
            8 * PAGE,
            11 * PAGE,
            size - 3 * PAGE,
            size,
            u64::MAX - PAGE + 1,
            u64::MAX,
        ] {
            assert_eq!(code(rig.gpu.map_blob(2, offset)), 0x1205, "{offset:#x}");
        }

        assert_eq!(requests(&rig), before);
        rig.gpu.map_blob(2, size - 4 * PAGE).unwrap();
        rig.finish().unwrap();
    }
}

#[test]
fn second_map_of_a_blob_is_refused_and_the_first_stays() {
    for flavour in WITH_WINDOW {
        let mut rig = rig(flavour);
        let blob = mappable(1, Recipe::SHM, PAGE);
        rig.gpu.create_blob(&blob, &[]).unwrap();
        rig.gpu.map_blob(1, 0).unwrap();

        for offset in [0, 16 * PAGE] {
            assert_eq!(code(rig.gpu.map_blob(1, offset)), 0x1205);
        }

        rig.frontend.window().unwrap().write(0, b"x").unwrap();
        assert_eq!(rig.frontend.window().unwrap().mappings().len(), 1);
        rig.finish().unwrap();
    }
}

#[test]
fn map_of_what_is_not_mappable_is_refused() {
    let mut rig = rig(WITH_WINDOW[0]);
    let blob = mappable(1, Recipe::SHM, PAGE);
    let hidden = Blob { flags: 2, ..blob };
    rig.gpu.create_blob(&hidden, &[]).unwrap();
    let page = rig.gpu.buffer(&[0; 4096]).unwrap();
    let guest = Blob {
        resource_id: 2,
        mem: 1,
        blob_id: 0,
        ..blob
    };
    rig.gpu.create_blob(&guest, &[page]).unwrap();

    for (id, refusal) in [(1, 0x1205), (2, 0x1205), (3, 0x1203), (0, 0x1203)] {
        assert_eq!(code(rig.gpu.map_blob(id, 0)), refusal, "{id}");
    }
    assert_eq!(requests(&rig), 0);
    rig.finish().unwrap();
}

#[test]
fn unmap_of_what_is_not_mapped_is_fine_and_of_nothing_is_not() {
    for flavour in WITH_WINDOW {
        let mut rig = rig(flavour);
        let blob = mappable(1, Recipe::SHM, PAGE);
        rig.gpu.create_blob(&blob, &[]).unwrap();

        rig.gpu.unmap_blob(1).unwrap();
        rig.gpu.map_blob(1, 0).unwrap();
        rig.gpu.unmap_blob(1).unwrap();
        rig.gpu.unmap_blob(1).unwrap();

        assert_eq!(code(rig.gpu.unmap_blob(7)), 0x1203);
        assert_eq!(code(rig.gpu.unref(7)), 0x1203);
        rig.finish().unwrap();
    }
}

#[test]
fn maps_over_the_budget_wait_for_others_to_go() {
    for flavour in WITH_WINDOW {
        let options = Options {
            quotas: mappings(3),
            ..Options::default()
        };
        let rig = Rig::with(Config::new(flavour), options).unwrap();
        let mut rig = with_context(rig);
        for id in 1..=4 {
            let blob = mappable(id, Recipe::SHM, PAGE);
            rig.gpu.create_blob(&blob, &[]).unwrap();
        }
        for id in 1..=3 {
            rig.gpu.map_blob(id, u64::from(id) * PAGE).unwrap();
        }

        assert_eq!(code(rig.gpu.map_blob(4, 0)), 0x1201);
        rig.gpu.unmap_blob(2).unwrap();
        rig.gpu.map_blob(4, 0).unwrap();
        assert_eq!(code(rig.gpu.map_blob(2, 2 * PAGE)), 0x1201);
        rig.gpu.unref(1).unwrap();
        rig.gpu.map_blob(2, 2 * PAGE).unwrap();

        assert_eq!(rig.frontend.window().unwrap().mappings().len(), 3);
        rig.finish().unwrap();
    }
}

#[test]
fn blob_that_is_malformed_is_not_created() {
    let mut rig = rig(WITH_WINDOW[0]);
    let blob = mappable(1, Recipe::SHM, PAGE);
    let page = rig.gpu.buffer(&[0; 4096]).unwrap();
    rig.gpu.create_blob(&blob, &[]).unwrap();
    for (blob, entries, refusal) in [
        (blob, vec![], 0x1203),
        (mappable(0, Recipe::SHM, PAGE), vec![], 0x1203),
        (mappable(2, Recipe::SHM, 0), vec![], 0x1205),
        (mappable(2, Recipe::SHM, PAGE + 1), vec![], 0x1205),
        (mappable(2, Recipe::SHM, PAGE), vec![page], 0x1205),
    ] {
        assert_eq!(code(rig.gpu.create_blob(&blob, &entries)), refusal);
    }
    let second = mappable(2, Recipe::SHM, PAGE);
    for (blob, refusal) in [
        (Blob { mem: 0, ..second }, 0x1205),
        (Blob { mem: 4, ..second }, 0x1205),
        (Blob { flags: 8, ..second }, 0x1205),
        (
            Blob {
                ctx_id: 9,
                ..second
            },
            0x1204,
        ),
        (
            Blob {
                blob_id: 99,
                ..second
            },
            0x1200,
        ),
    ] {
        assert_eq!(code(rig.gpu.create_blob(&blob, &[])), refusal, "{blob:?}");
    }
    assert_eq!(rig.host.blobs(), [1]);
    rig.finish().unwrap();
}
