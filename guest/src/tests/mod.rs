//! The library against the fake host.

mod allocation;
mod brackets;
mod calls;
mod images;
mod sharing;

use crate::fake::FakeHost;
use crate::{Allocation, AllocationRequest, Context, MemoryProperties};

/// Properties of memory that needs brackets.
const INCOHERENT: MemoryProperties =
    MemoryProperties::HOST_VISIBLE.union(MemoryProperties::HOST_CACHED);

/// Properties of memory that needs none.
const COHERENT: MemoryProperties = INCOHERENT.union(MemoryProperties::HOST_COHERENT);

fn allocate(context: &Context, required: MemoryProperties) -> Allocation {
    let request = AllocationRequest::new(4 * 4096, required);
    context.allocate(&request).unwrap()
}

/// A host whose memory is all incoherent, an allocation of it, and a silent log.
fn incoherent() -> (FakeHost, Context, Allocation) {
    let host = FakeHost::with_types(&[INCOHERENT]);
    let context = host.open();
    let allocation = allocate(&context, INCOHERENT);
    host.executed();
    (host, context, allocation)
}
