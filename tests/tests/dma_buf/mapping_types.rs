//! What a renderer says of memory, held against dma-bufs of exporters that are known and of some
//! that are not.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use coherd::guest_pat::HostFacts;
use coherd::mapping_type::{Counts, MappingTypes, Policies};
use coherd::serve::Options;
use coherd_blob::MismatchPolicy;
use coherd_tests::dma_buf::{Mapping, SystemHeap, Udmabuf, Vgem};
use coherd_tests::driver::{Blob, DriverError};
use coherd_tests::frontend::{Config, Flavour};
use coherd_tests::renderer::{CAPSET, FileKind, Recipe};
use coherd_tests::rig::Rig;

use super::{SIZE, memfd};

const CTX: u32 = 1;
const CACHED: u32 = 1;
const WRITE_COMBINING: u32 = 3;

/// Has the renderer export a dma-buf as memory of type `said`, and the guest map it and write to
/// it: the `map_info`, or the code of the refusal, and what was counted.
fn map(dma_buf: &OwnedFd, said: u32, policies: Policies) -> (Result<u32, u32>, Counts) {
    let types = Arc::new(MappingTypes::new(policies, HostFacts::unknown()));
    let options = Options {
        mapping_types: Arc::clone(&types),
        ..Options::default()
    };
    let mut rig = Rig::with(Config::new(Flavour::Qemu), options).unwrap();
    rig.gpu.ctx_create(CTX, CAPSET, "test").unwrap();
    rig.host.lend(dma_buf.try_clone().unwrap());
    let recipe = Recipe {
        map_info: said,
        ..Recipe::new(FileKind::DmaBuf)
    };
    let blob = Blob {
        ctx_id: CTX,
        resource_id: 1,
        mem: 2,
        flags: 1,
        blob_id: recipe.blob_id(),
        size: SIZE,
    };
    rig.gpu.create_blob(&blob, &[]).unwrap();
    let answer = match rig.gpu.map_blob(1, SIZE) {
        Ok(map_info) => {
            let words = format!("said to be {said}");
            let window = rig.frontend.window().unwrap();
            window.write(SIZE, words.as_bytes()).unwrap();
            let mapping = Mapping::new(dma_buf, usize::try_from(SIZE).unwrap()).unwrap();
            assert_eq!(mapping.bytes(0, words.len()), words.as_bytes());
            Ok(map_info)
        }
        Err(DriverError::Refused { code, .. }) => Err(code),
        Err(other) => panic!("{other:?}"),
    };
    rig.finish().unwrap();
    (answer, types.counts())
}

fn ordinary_ram_is_told_as_cached(dma_buf: &OwnedFd) {
    let agreed = (Ok(CACHED), Counts::default());
    assert_eq!(map(dma_buf, CACHED, Policies::default()), agreed);
    let corrected = Counts {
        corrected: 1,
        ..Counts::default()
    };
    let wrong = map(dma_buf, WRITE_COMBINING, Policies::default());
    assert_eq!(wrong, (Ok(CACHED), corrected));
}

#[test]
fn udmabuf_is_told_as_cached_whatever_the_renderer_says() {
    let Some(udmabuf) = Udmabuf::find().unwrap() else {
        return;
    };
    let memfd = memfd::fit(SIZE);
    ordinary_ram_is_told_as_cached(&udmabuf.create_whole(&memfd).unwrap());
}

#[test]
fn system_heap_is_told_as_cached_whatever_the_renderer_says() {
    let Some(heap) = SystemHeap::find().unwrap() else {
        return;
    };
    ordinary_ram_is_told_as_cached(&heap.allocate(SIZE).unwrap());
}

#[test]
fn buffer_of_a_drm_driver_is_what_the_renderer_says_and_nobody_can_confirm_it() {
    let Some(vgem) = Vgem::find().unwrap() else {
        return;
    };
    let buffer = vgem.allocate(SIZE).unwrap();
    let dma_buf = buffer.fd().unwrap();
    let unknown = Counts {
        mismatched: 1,
        ..Counts::default()
    };
    for said in [CACHED, WRITE_COMBINING] {
        let mapped = map(&dma_buf, said, Policies::default());
        assert_eq!(mapped, (Ok(said), unknown));
    }

    let refused = map(&dma_buf, CACHED, Policies::all(MismatchPolicy::Refuse));
    let counts = Counts {
        refused: 1,
        ..Counts::default()
    };
    assert_eq!(refused, (Err(0x1205), counts));
}
