//! Peers of the sync protocol beside a guest.

mod access;
mod authority;
mod ctl;
mod death;
mod fences;
mod layer;
mod ledger;
mod listing;
mod persist;
mod raw;
mod waiting;

use coherd::renderer::blob_context::gpu::Gpu;
use coherd_protocol::memory::{Access, MemoryProperties};
use coherd_sync::{Connection, Entry};
use coherd_tests::driver::blob_program::{Wish, fill, silent};
use coherd_tests::sync_rig::SyncRig;

use crate::PAGE;

/// Cached and coherent.
const RAM: MemoryProperties = MemoryProperties::HOST_VISIBLE
    .union(MemoryProperties::HOST_COHERENT)
    .union(MemoryProperties::HOST_CACHED);
/// Cached, and coherent only by brackets.
const INCOHERENT: MemoryProperties =
    MemoryProperties::HOST_VISIBLE.union(MemoryProperties::HOST_CACHED);
/// Both.
const READ_WRITE: Access = Access::READ.union(Access::WRITE);

/// A mapped resource of so many pages.
fn mapped<G: Gpu>(rig: &mut SyncRig<G>, id: u32, pages: u64, required: MemoryProperties) {
    let (program, gpu) = (&mut rig.vm.program, &mut rig.vm.gpu);
    let wish = Wish {
        size: pages * PAGE,
        required,
        preferred: MemoryProperties::empty(),
    };
    let object = program.allocate(gpu, wish).unwrap().unwrap();
    program.create_blob(gpu, id, object).unwrap();
    rig.vm.gpu.map_blob(id, place(id)).unwrap();
}

/// Where [`mapped`] maps a resource.
fn place(id: u32) -> u64 {
    u64::from(id) * 16 * PAGE
}

/// What a peer sees in its list of a resource.
fn entry(peer: &Connection, resource_id: u32) -> Entry {
    let entries = peer.list().unwrap().into_iter();
    let mut of_resource = entries.filter(|entry| entry.resource_id == resource_id);
    of_resource.next().unwrap()
}

/// The GPU fills the first page of a resource.
fn gpu_fills(rig: &mut SyncRig, id: u32, byte: u8) {
    let word = u32::from_le_bytes([byte; 4]);
    let (program, gpu) = (&mut rig.vm.program, &mut rig.vm.gpu);
    program.fill(gpu, id, (0, PAGE), word).unwrap().unwrap();
}

/// The GPU is given work on the first page of a resource, and does not do it.
fn gpu_hangs_at(rig: &mut SyncRig, id: u32) {
    use coherd_protocol::blob_context::command::opcode;
    rig.gpu.hold();
    let stream = silent(opcode::FILL, &fill(id, (0, PAGE), 0x0909_0909));
    rig.vm.program.submit(&mut rig.vm.gpu, &stream).unwrap();
    assert!(rig.gpu.wait_given(1, raw::PATIENCE));
}
