//! What a renderer says of memory, held against the file.

use std::sync::Arc;

use coherd::guest_pat::HostFacts;
use coherd::mapping_type::{Counts, MappingTypes, Policies};
use coherd::serve::Options;
use coherd_blob::MismatchPolicy;
use coherd_tests::frontend::{Config, Flavour};
use coherd_tests::renderer::{FileKind, Recipe};
use coherd_tests::rig::Rig;

use crate::{CTX, PAGE, code, mappable, with_context};

const CACHED: u32 = 1;
const WRITE_COMBINING: u32 = 3;

/// What MAP_BLOB is answered if there is nothing to map, ERR_INVALID_PARAMETER.
const NOT_MAPPABLE: u32 = 0x1205;

/// A file in memory that the renderer takes for write-combining.
const WRONG: Recipe = Recipe {
    map_info: WRITE_COMBINING,
    ..Recipe::SHM
};

/// A rig with context [`CTX`] whose daemon decides by `policies`, and what decides.
fn rig(policies: Policies) -> (Rig, Arc<MappingTypes>) {
    let types = Arc::new(MappingTypes::new(policies, HostFacts::unknown()));
    let options = Options {
        mapping_types: Arc::clone(&types),
        ..Options::default()
    };
    let rig = Rig::with(Config::new(Flavour::Qemu), options).unwrap();
    (with_context(rig), types)
}

/// Creates blob `id` by `recipe` and maps it: the `map_info`, or the code of the refusal.
fn map(rig: &mut Rig, id: u32, recipe: Recipe) -> Result<u32, u32> {
    let blob = mappable(id, recipe, PAGE);
    rig.gpu.create_blob(&blob, &[]).unwrap();
    match rig.gpu.map_blob(id, u64::from(id) * PAGE) {
        Ok(map_info) => Ok(map_info),
        refused => Err(code(refused)),
    }
}

#[test]
fn file_in_memory_is_told_as_cached_whatever_the_renderer_says() {
    let (mut rig, types) = rig(Policies::default());
    let mut id = 0;
    for file in [FileKind::Shm, FileKind::DmaBuf, FileKind::Opaque] {
        for raw in [1, 0x31, 2, 0x12, 3, 0x33] {
            id += 1;
            let recipe = Recipe {
                map_info: raw,
                ..Recipe::new(file)
            };
            assert_eq!(map(&mut rig, id, recipe), Ok(CACHED), "{recipe:?}");
        }
    }
    let wrong = Counts {
        corrected: 12,
        ..Counts::default()
    };
    assert_eq!(types.counts(), wrong);
    rig.finish().unwrap();
}

#[test]
fn wrong_word_of_a_renderer_can_be_a_reason_to_refuse() {
    let (mut rig, types) = rig(Policies::all(MismatchPolicy::Refuse));
    rig.gpu.create_blob(&mappable(1, WRONG, PAGE), &[]).unwrap();
    rig.gpu.ctx_attach(CTX, 1).unwrap();

    let refused = code(rig.gpu.map_blob(1, 0));

    assert_eq!(refused, NOT_MAPPABLE);
    let one = Counts {
        refused: 1,
        ..Counts::default()
    };
    assert_eq!(types.counts(), one);
    // It is still good for the GPU, and gone without a trace.
    assert!(rig.host.is_attached(CTX, 1));
    rig.gpu.unmap_blob(1).unwrap();
    rig.gpu.unref(1).unwrap();
    assert_eq!(map(&mut rig, 2, Recipe::SHM), Ok(CACHED));
    rig.finish().unwrap();
}

#[test]
fn word_of_a_renderer_that_knows_counts() {
    let (mut rig, types) = rig(Policies::all(MismatchPolicy::Refuse));
    let known = |map_info| Recipe {
        map_info,
        known: true,
        ..Recipe::SHM
    };
    assert_eq!(
        map(&mut rig, 1, known(WRITE_COMBINING)),
        Ok(WRITE_COMBINING)
    );
    assert_eq!(map(&mut rig, 2, known(0)), Err(NOT_MAPPABLE));
    assert_eq!(types.counts(), Counts::default());
    rig.finish().unwrap();
}

#[test]
fn policy_changes_for_blobs_to_come() {
    let (mut rig, _) = rig(Policies::default());
    rig.gpu.create_blob(&mappable(1, WRONG, PAGE), &[]).unwrap();

    rig.server
        .set_type_mismatch(Policies::all(MismatchPolicy::Refuse));

    assert_eq!(map(&mut rig, 2, WRONG), Err(NOT_MAPPABLE));
    assert_eq!(rig.gpu.map_blob(1, 0).unwrap(), CACHED);
    rig.server.set_type_mismatch(Policies::default());
    assert_eq!(map(&mut rig, 3, WRONG), Ok(CACHED));
    rig.finish().unwrap();
}

#[test]
fn blob_that_nobody_may_map_is_no_matter_of_types() {
    let (mut rig, types) = rig(Policies::all(MismatchPolicy::Refuse));
    let mut blob = mappable(1, WRONG, PAGE);
    // SHAREABLE alone.
    blob.flags = 2;
    rig.gpu.create_blob(&blob, &[]).unwrap();
    assert_eq!(code(rig.gpu.map_blob(1, 0)), NOT_MAPPABLE);
    assert_eq!(types.counts(), Counts::default());
    rig.finish().unwrap();
}
