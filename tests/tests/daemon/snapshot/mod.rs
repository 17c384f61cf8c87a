//! A guest that goes on in another daemon.

mod control;
mod refusal;
mod resume;
mod vulkan;

use std::sync::Arc;

use coherd_blob::{Access, MemoryProperties};
use coherd_tests::blob_gpu::MemoryGpu;
use coherd_tests::blob_rig::BlobRig;
use coherd_tests::driver::blob_program::Wish;

use crate::PAGE;

/// Memory of the device, which processors do not reach.
const DEVICE: MemoryProperties = MemoryProperties::DEVICE_LOCAL;
/// Cached and coherent.
const RAM: MemoryProperties = MemoryProperties::HOST_VISIBLE
    .union(MemoryProperties::HOST_COHERENT)
    .union(MemoryProperties::HOST_CACHED);
/// Coherent and not cached.
const COMBINING: MemoryProperties =
    MemoryProperties::HOST_VISIBLE.union(MemoryProperties::HOST_COHERENT);
/// Cached, and coherent only by brackets.
const INCOHERENT: MemoryProperties =
    MemoryProperties::HOST_VISIBLE.union(MemoryProperties::HOST_CACHED);

fn rig() -> (Arc<MemoryGpu>, BlobRig) {
    let gpu = Arc::new(MemoryGpu::new());
    let rig = BlobRig::new(&gpu).unwrap();
    (gpu, rig)
}

/// A resource of so many pages.
fn blob(rig: &mut BlobRig, id: u32, pages: u64, required: MemoryProperties) {
    let wish = Wish {
        size: pages * PAGE,
        required,
        preferred: MemoryProperties::empty(),
    };
    let object = rig.program.allocate(&mut rig.gpu, wish).unwrap().unwrap();
    rig.program.create_blob(&mut rig.gpu, id, object).unwrap();
}

/// The same, and mapped.
fn mapped(rig: &mut BlobRig, id: u32, pages: u64, required: MemoryProperties) {
    blob(rig, id, pages, required);
    rig.gpu.map_blob(id, place(id)).unwrap();
}

/// Where [`mapped`] maps a resource.
fn place(id: u32) -> u64 {
    u64::from(id) * 64 * PAGE
}

/// What the guest sees of a mapped resource.
fn seen(rig: &BlobRig, id: u32, len: u64) -> Vec<u8> {
    let window = rig.frontend.window().unwrap();
    let len = usize::try_from(len).unwrap();
    window.read_vec(place(id), len).unwrap()
}

/// The guest writes to a mapped resource as it has to.
fn guest_writes(rig: &mut BlobRig, id: u32, offset: u64, bytes: &[u8]) {
    let begun = rig.program.start(&mut rig.gpu, id, Access::WRITE);
    begun.unwrap().unwrap();
    let window = rig.frontend.window().unwrap();
    window.write(place(id) + offset, bytes).unwrap();
    let ended = rig.program.end(&mut rig.gpu, id, Access::WRITE);
    ended.unwrap().unwrap();
}

/// The GPU fills a page of a resource.
fn gpu_fills(rig: &mut BlobRig, id: u32, page: u64, byte: u8) {
    let word = u32::from_le_bytes([byte; 4]);
    let range = (page * PAGE, PAGE);
    let filled = rig.program.fill(&mut rig.gpu, id, range, word);
    filled.unwrap().unwrap();
}

/// A page of a resource as the GPU sees it, by way of a mapped one.
fn as_gpu_sees(rig: &mut BlobRig, id: u32, page: u64, by_way_of: u32) -> Vec<u8> {
    let copied = rig
        .program
        .copy(&mut rig.gpu, (id, page * PAGE), (by_way_of, 0), PAGE);
    copied.unwrap().unwrap();
    seen(rig, by_way_of, PAGE)
}
