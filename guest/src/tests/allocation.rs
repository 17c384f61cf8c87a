//! Allocations: what is asked for, what comes, and what is left of what fails.

use coherd_protocol::blob_context::command::opcode;

use super::{COHERENT, INCOHERENT, allocate};
use crate::fake::{FakeHost, Fault, MAX_ALLOCATION};
use crate::{
    AllocateError, AllocationRequest, BlobError, Caching, MapError, MemoryProperties, Status,
};

#[test]
fn memory_is_of_the_type_that_was_required() {
    let context = FakeHost::new().open();
    for kind in context.host().types.clone() {
        let memory = *allocate(&context, kind.properties).memory();
        assert_eq!(memory.type_index, kind.index);
        assert_eq!(memory.properties, kind.properties);
        assert_eq!(
            (memory.caching, memory.needs_sync),
            (kind.caching, kind.needs_sync)
        );
    }
}

#[test]
fn preferred_properties_choose_among_what_is_required() {
    let context = FakeHost::new().open();
    let request = AllocationRequest {
        preferred: MemoryProperties::HOST_CACHED | MemoryProperties::HOST_COHERENT,
        ..AllocationRequest::new(1, MemoryProperties::HOST_VISIBLE)
    };
    let memory = *context.allocate(&request).unwrap().memory();
    assert_eq!(memory.properties, COHERENT);
    assert_eq!(memory.caching, Some(Caching::Cached));
}

#[test]
fn sizes_are_rounded_up_to_pages() {
    let context = FakeHost::new().open();
    for (asked, got) in [(1, 4096), (4096, 4096), (4097, 8192)] {
        let request = AllocationRequest::new(asked, COHERENT);
        assert_eq!(context.allocate(&request).unwrap().size(), got);
    }
}

#[test]
fn sizes_that_cannot_be_do_not_reach_the_host() {
    let host = FakeHost::new();
    let context = host.open();
    for size in [0, MAX_ALLOCATION + 1, u64::MAX] {
        let error = context
            .allocate(&AllocationRequest::new(size, COHERENT))
            .unwrap_err();
        assert!(
            matches!(error, AllocateError::Size { .. }),
            "{size}: {error}"
        );
    }
    assert!(host.executed().is_empty());
}

#[test]
fn host_is_asked_what_the_blob_is_before_it_is_used() {
    let host = FakeHost::new();
    let context = host.open();
    allocate(&context, COHERENT);
    assert_eq!(
        host.executed(),
        ["ALLOCATE", "BLOB BlobFlags(MAPPABLE)", "QUERY"]
    );
}

#[test]
fn memory_that_cannot_be_mapped_is_made_without_a_place_in_the_window() {
    let host = FakeHost::new();
    let context = host.open();
    let request = AllocationRequest {
        shareable: true,
        ..AllocationRequest::new(4096, MemoryProperties::DEVICE_LOCAL)
    };
    let allocation = context.allocate(&request).unwrap();
    assert_eq!(host.executed()[1], "BLOB BlobFlags(SHAREABLE)");
    assert!(matches!(allocation.map(), Err(MapError::NotMappable(0))));
}

#[test]
fn property_that_no_type_has_is_refused_with_its_status() {
    let host = FakeHost::with_types(&[COHERENT]);
    let context = host.open();
    let request = AllocationRequest::new(4096, MemoryProperties::DEVICE_LOCAL);
    let error = context.allocate(&request).unwrap_err();
    let AllocateError::Host { source, .. } = error else {
        panic!("{error}");
    };
    assert_eq!(source.status(), Some(Status::NoMemoryType));
    assert_eq!(host.holdings(), (0, 0));
}

#[test]
fn object_is_released_when_no_blob_can_be_made_of_it() {
    let host = FakeHost::new();
    let context = host.open();
    host.fail(Fault::WindowFull);
    let request = AllocationRequest::new(4096, COHERENT);
    let error = context.allocate(&request).unwrap_err();
    assert!(matches!(error, AllocateError::Blob(BlobError::Kernel(_))));
    assert!(error.to_string().contains("window is full"));
    assert_eq!(host.holdings(), (0, 0));
}

#[test]
fn blob_that_the_host_did_not_make_is_an_error_of_the_allocation() {
    let host = FakeHost::new();
    let context = host.open();
    host.fail(Fault::NoBlob);
    let error = context
        .allocate(&AllocationRequest::new(4096, COHERENT))
        .unwrap_err();
    let AllocateError::Blob(BlobError::Host(call)) = error else {
        panic!("{error}");
    };
    assert_eq!(call.status(), Some(Status::UnknownResource));
    assert_eq!(host.holdings(), (0, 0));
}

#[test]
fn map_that_the_host_refuses_is_an_error_of_the_map() {
    let host = FakeHost::new();
    let context = host.open();
    let allocation = allocate(&context, COHERENT);
    host.fail(Fault::NoMap);
    let error = allocation.map().unwrap_err();
    assert!(
        error.to_string().contains("did not map them into the VM"),
        "{error}"
    );
}

#[test]
fn memory_is_freed_with_its_last_user() {
    let host = FakeHost::new();
    let context = host.open();
    let allocation = allocate(&context, COHERENT);
    let mapping = allocation.map().unwrap();
    let clone = allocation.clone();
    drop((allocation, clone));
    assert_eq!(host.holdings(), (1, 0));
    mapping.write(..).unwrap().fill(7);
    drop(mapping);
    assert_eq!(host.holdings(), (0, 0));
}

#[test]
fn allocation_outlives_the_context_it_was_made_with() {
    let host = FakeHost::new();
    let allocation = allocate(&host.open(), INCOHERENT);
    let mapping = allocation.map().unwrap();
    assert_eq!(mapping.read(..).unwrap().to_vec(), [0; 4 * 4096]);
}

#[test]
fn status_over_quota_comes_back() {
    let host = FakeHost::new();
    let context = host.open();
    host.fail(Fault::Refuse(opcode::ALLOCATE, Status::OverQuota));
    let error = context
        .allocate(&AllocationRequest::new(4096, COHERENT))
        .unwrap_err();
    let AllocateError::Host { source, .. } = error else {
        panic!("{error}");
    };
    assert_eq!(source.status(), Some(Status::OverQuota));
}
