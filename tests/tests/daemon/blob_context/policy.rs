//! Memory types that do not agree, and what the host's policy makes of them.

use std::sync::Arc;

use coherd::mapping_type::Policies;
use coherd::serve::Options;
use coherd_blob::MismatchPolicy;
use coherd_protocol::blob_context::Status;
use coherd_protocol::blob_context::reply::MemoryFlags;
use coherd_protocol::memory::MemoryProperties;
use coherd_tests::blob_gpu::MemoryGpu;
use coherd_tests::blob_rig::BlobRig;
use coherd_tests::driver::blob_program::Wish;
use coherd_tests::frontend::Flavour;

use super::{VISIBLE, wish};
use crate::PAGE;

/// Write-combining, in a file that others map cached.
const UNCACHED: MemoryProperties = VISIBLE.union(MemoryProperties::HOST_COHERENT);

fn rig(policy: MismatchPolicy) -> (BlobRig, MemoryGpu) {
    let gpu = MemoryGpu::new();
    let policies = Policies::all(policy);
    let options = Options::default();
    let rig = BlobRig::with(&Arc::new(gpu.clone()), Flavour::Qemu, policies, options).unwrap();
    (rig, gpu)
}

#[test]
fn warning_gives_what_was_asked_for_and_tells_that_types_differ() {
    let (mut rig, _) = rig(MismatchPolicy::Warn);
    let object = rig.program.allocate(&mut rig.gpu, wish(1, UNCACHED));
    let (_, memory) = object.unwrap().unwrap();
    let flags = MemoryFlags::from_bits(memory.flags.get()).unwrap();
    assert_eq!((memory.map_info.get(), memory.fd_map_info.get()), (3, 1));
    assert!(flags.contains(MemoryFlags::MAPPABLE | MemoryFlags::FD_KNOWN));
    assert!(!flags.contains(MemoryFlags::AGREED));
    rig.finish().unwrap();
}

#[test]
fn cached_memory_takes_the_place_of_memory_whose_types_differ() {
    let (mut rig, gpu) = rig(MismatchPolicy::PreferCached);
    let object = rig.program.allocate(&mut rig.gpu, wish(1, UNCACHED));
    let (_, memory) = object.unwrap().unwrap();
    let flags = MemoryFlags::from_bits(memory.flags.get()).unwrap();
    assert_eq!((memory.map_info.get(), memory.type_index.get()), (1, 1));
    assert!(flags.contains(MemoryFlags::AGREED));
    assert_eq!(gpu.blobs(), 1);
    rig.finish().unwrap();
}

#[test]
fn memory_that_is_asked_for_is_there_where_cached_memory_is_not() {
    let (mut rig, gpu) = rig(MismatchPolicy::PreferCached);
    gpu.fail_after(2, Status::OutOfDeviceMemory);
    let object = rig.program.allocate(&mut rig.gpu, wish(1, UNCACHED));
    let (_, memory) = object.unwrap().unwrap();
    assert_eq!((memory.map_info.get(), memory.type_index.get()), (3, 2));
    assert_eq!(gpu.blobs(), 1);
    rig.finish().unwrap();
}

#[test]
fn refusal_has_a_status_and_leaves_nothing() {
    let (mut rig, gpu) = rig(MismatchPolicy::Refuse);
    let wish = Wish {
        size: PAGE,
        required: UNCACHED,
        ..Wish::default()
    };
    let refused = rig.program.allocate(&mut rig.gpu, wish).unwrap();
    assert_eq!(refused.unwrap_err(), Status::Refused);
    assert_eq!(gpu.blobs(), 0);
    rig.finish().unwrap();
}
