//! Vulkan memory that goes on in another daemon, with memory types that are not those of the first:
//! on lavapipe, and on lavapipe with the layer that adds memory that is not coherent.

use std::sync::Arc;

use coherd::explain::one_line;
use coherd::renderer::blob_context::Vulkan;
use coherd::serve::Options;
use coherd_blob::{Access, MemoryProperties};
use coherd_tests::blob_rig::{BlobRig, vulkan};
use coherd_tests::frontend::Flavour;
use coherd_vulkan::{Device, Selector};

use VkLayer_coherd_incoherent::control::LAYER_NAME;

use super::{
    COMBINING, DEVICE, INCOHERENT, RAM, as_gpu_sees, blob, gpu_fills, guest_writes, mapped, seen,
};
use crate::blob_context::layer::where_offered;
use crate::{PAGE, pattern};

/// Memory that processors need not reach.
const HIDDEN: u32 = 20;
/// Memory through which the test looks at what the GPU sees.
const VIA: u32 = 21;

/// A device with the layer, in a process that finds it.
fn with_the_layer() -> Arc<Vulkan> {
    let options = coherd_vulkan::Options {
        layers: vec![LAYER_NAME.to_owned()],
        ..coherd_vulkan::Options::default()
    };
    let device = Device::open(&Selector::Any, &options).unwrap();
    Arc::new(Vulkan::new(device))
}

fn plain() -> Arc<Vulkan> {
    Arc::new(Vulkan::open(None).unwrap())
}

/// Whether processors and the GPU see the same bytes of a resource without brackets.
fn is_coherent(rig: &mut BlobRig, id: u32) -> bool {
    let memory = rig.program.query(&mut rig.gpu, id).unwrap().unwrap().0;
    let properties = MemoryProperties::from_bits(memory.properties.get()).unwrap();
    properties.contains(MemoryProperties::HOST_COHERENT)
}

/// What a program of the guest reads of a resource.
fn guest_reads(rig: &mut BlobRig, id: u32, len: u64) -> Vec<u8> {
    let begun = rig.program.start(&mut rig.gpu, id, Access::READ);
    begun.unwrap().unwrap();
    let bytes = seen(rig, id, len);
    let ended = rig.program.end(&mut rig.gpu, id, Access::READ);
    ended.unwrap().unwrap();
    bytes
}

/// A guest with memory of these types: of each, one page that a program wrote, one that the GPU
/// filled and no program has seen, and one that nobody touched.
fn filled(from: &Arc<Vulkan>, types: &[MemoryProperties]) -> BlobRig {
    let mut rig = BlobRig::new(from).unwrap();
    for (id, required) in (1..).zip(types) {
        mapped(&mut rig, id, 3, *required);
        guest_writes(&mut rig, id, 0, &pattern(seed(id), PAGE));
        gpu_fills(&mut rig, id, 1, seed(id));
    }
    blob(&mut rig, HIDDEN, 1, DEVICE);
    gpu_fills(&mut rig, HIDDEN, 0, 77);
    rig
}

/// The same device in a daemon with another GPU.
fn moved(rig: BlobRig, to: &Arc<Vulkan>, flavour: Flavour) -> BlobRig {
    let moving = rig.save().unwrap();
    moving.load(to, flavour, Options::default()).unwrap()
}

fn seed(id: u32) -> u8 {
    u8::try_from(id).unwrap() * 16 + 5
}

/// Looks at everything that [`filled`] left, as a program and as the GPU.
fn check(rig: &mut BlobRig, types: &[MemoryProperties]) {
    mapped(rig, VIA, 1, RAM);
    for (id, _) in (1..).zip(types) {
        let fill = vec![seed(id); 4096];
        let expected = [pattern(seed(id), PAGE), fill.clone(), vec![0; 4096]].concat();
        assert!(guest_reads(rig, id, 3 * PAGE) == expected, "resource {id}");
        for (page, expected) in [pattern(seed(id), PAGE), fill, vec![0; 4096]]
            .iter()
            .enumerate()
        {
            let page = u64::try_from(page).unwrap();
            let sees = as_gpu_sees(rig, id, page, VIA);
            assert!(sees == *expected, "GPU at page {page} of resource {id}");
        }
    }
    assert_eq!(as_gpu_sees(rig, HIDDEN, 0, VIA), [77; 4096]);
    // And it goes on.
    guest_writes(rig, 1, 2 * PAGE, &pattern(3, PAGE));
    assert_eq!(as_gpu_sees(rig, 1, 2, VIA), pattern(3, PAGE));
}

#[test]
fn memory_goes_on_in_a_daemon_with_the_same_memory_types() {
    let Some(from) = vulkan() else { return };
    for flavour in [Flavour::Qemu, Flavour::Crosvm] {
        let rig = filled(&from, &[RAM, RAM]);
        let mut rig = moved(rig, &plain(), flavour);
        check(&mut rig, &[RAM, RAM]);
        rig.finish().unwrap();
    }
}

#[test]
fn incoherent_memory_goes_on_as_incoherent_memory() {
    where_offered(
        "snapshot::vulkan::incoherent_memory_goes_on_as_incoherent_memory",
        || {
            let types = [INCOHERENT, RAM, COMBINING];
            let rig = filled(&with_the_layer(), &types);
            let mut rig = moved(rig, &with_the_layer(), Flavour::Qemu);
            assert!(!is_coherent(&mut rig, 1), "the layer is not there");
            check(&mut rig, &types);
            rig.finish().unwrap();
        },
    );
}

#[test]
fn incoherent_memory_goes_on_as_coherent_memory_where_there_is_no_other() {
    where_offered(
        "snapshot::vulkan::incoherent_memory_goes_on_as_coherent_memory_where_there_is_no_other",
        || {
            let types = [INCOHERENT, RAM];
            let mut rig = filled(&with_the_layer(), &types);
            assert!(!is_coherent(&mut rig, 1), "the layer is not there");
            let mut rig = moved(rig, &plain(), Flavour::Crosvm);
            assert!(is_coherent(&mut rig, 1));
            check(&mut rig, &types);
            rig.finish().unwrap();
        },
    );
}

#[test]
fn coherent_memory_goes_on_as_coherent_memory_beside_other() {
    where_offered(
        "snapshot::vulkan::coherent_memory_goes_on_as_coherent_memory_beside_other",
        || {
            let rig = filled(&plain(), &[RAM, RAM]);
            let mut rig = moved(rig, &with_the_layer(), Flavour::Qemu);
            for id in [1, 2] {
                assert!(is_coherent(&mut rig, id));
            }
            check(&mut rig, &[RAM, RAM]);
            rig.finish().unwrap();
        },
    );
}

#[test]
fn memory_that_the_other_gpu_has_no_type_for_is_refused_by_name() {
    where_offered(
        "snapshot::vulkan::memory_that_the_other_gpu_has_no_type_for_is_refused_by_name",
        || {
            let rig = filled(&with_the_layer(), &[COMBINING]);
            let moving = rig.save().unwrap();
            let refused = moving.restore(&plain(), Flavour::Crosvm, Options::default());
            let error = one_line(&refused.err().expect("a refusal"));
            assert!(error.contains("resource 1"), "{error}");
        },
    );
}
