//! Blob contexts behind the socket, on a GPU made of files and, where there is one, on Vulkan.

mod accesses;
mod capset;
mod faults;
mod images;
mod isolation;
pub mod layer;
mod ledger;
mod lifecycle;
mod memory;
mod policy;
mod quotas;
mod scanout;
mod streams;
mod transfers;

use std::sync::Arc;

use coherd::device::quota::{Quota, Quotas, Scope};
use coherd::mapping_type::Policies;
use coherd::serve::Options;
use coherd_blob::MismatchPolicy;
use coherd_protocol::blob_context::reply::Memory;
use coherd_protocol::memory::{Access, MemoryProperties};
use coherd_tests::blob_gpu::MemoryGpu;
use coherd_tests::blob_rig::{BlobRig, vulkan};
use coherd_tests::driver::blob_program::Wish;
use coherd_tests::frontend::Flavour;

use crate::PAGE;

/// What processors can map.
const VISIBLE: MemoryProperties = MemoryProperties::HOST_VISIBLE;
/// Cached and coherent.
const RAM: MemoryProperties = VISIBLE
    .union(MemoryProperties::HOST_COHERENT)
    .union(MemoryProperties::HOST_CACHED);
/// Both.
const READ_WRITE: Access = Access::READ.union(Access::WRITE);

/// Runs a test on the GPU made of files, and on Vulkan where that is there.
fn on_each_gpu(test: impl Fn(BlobRig)) {
    test(BlobRig::new(&Arc::new(MemoryGpu::new())).unwrap());
    if let Some(vulkan) = vulkan() {
        test(BlobRig::new(&vulkan).unwrap());
    }
}

/// A rig on the GPU made of files, and the GPU.
fn on_files() -> (BlobRig, MemoryGpu) {
    on_files_with(Options::default())
}

fn on_files_with(options: Options) -> (BlobRig, MemoryGpu) {
    let gpu = MemoryGpu::new();
    let policies = Policies::all(MismatchPolicy::Warn);
    let rig = BlobRig::with(&Arc::new(gpu.clone()), Flavour::Qemu, policies, options).unwrap();
    (rig, gpu)
}

fn options_with(scope: Scope, quota: Quota, value: u64) -> Options {
    let mut quotas = Quotas::default();
    quotas.set(scope, quota, value).unwrap();
    Options {
        quotas,
        ..Options::default()
    }
}

fn wish(pages: u64, required: MemoryProperties) -> Wish {
    Wish {
        size: pages * PAGE,
        required,
        preferred: MemoryProperties::empty(),
    }
}

/// A resource of so many pages that is attached, not mapped.
fn blob(rig: &mut BlobRig, id: u32, pages: u64, required: MemoryProperties) -> Memory {
    let object = rig.program.allocate(&mut rig.gpu, wish(pages, required));
    let object = object.unwrap().unwrap();
    rig.program.create_blob(&mut rig.gpu, id, object).unwrap();
    object.1
}

/// A resource that is attached, and mapped at as many pages as its id, times 16.
fn mapped(rig: &mut BlobRig, id: u32, pages: u64, required: MemoryProperties) -> Memory {
    let memory = blob(rig, id, pages, required);
    let map_info = rig.gpu.map_blob(id, place(id)).unwrap();
    assert_eq!(map_info, memory.map_info.get());
    memory
}

/// Where [`mapped`] maps a resource.
fn place(id: u32) -> u64 {
    u64::from(id) * 16 * PAGE
}

fn write(rig: &BlobRig, id: u32, offset: u64, bytes: &[u8]) {
    let window = rig.frontend.window().unwrap();
    window.write(place(id) + offset, bytes).unwrap();
}

fn read(rig: &BlobRig, id: u32, offset: u64, len: usize) -> Vec<u8> {
    let window = rig.frontend.window().unwrap();
    window.read_vec(place(id) + offset, len).unwrap()
}
