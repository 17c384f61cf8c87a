//! Allocations in more than one context.

use std::fs::File;
use std::os::fd::AsFd;

use super::{COHERENT, INCOHERENT, allocate};
use crate::fake::FakeHost;
use crate::{Owner, ShareError, Status};

#[test]
fn contexts_do_not_reach_each_other() {
    let host = FakeHost::new();
    let (ours, theirs) = (host.open(), host.open());
    let memory = allocate(&ours, COHERENT);
    let work = theirs.fill(memory.at(0), 4096, 1).unwrap();
    assert_eq!(
        work.wait().unwrap_err().call().status(),
        Some(Status::UnknownResource)
    );
}

#[test]
fn exported_allocation_is_the_same_memory_elsewhere() {
    let host = FakeHost::new();
    let (ours, theirs) = (host.open(), host.open());
    let memory = allocate(&ours, INCOHERENT);
    let file = memory.export().unwrap();
    let imported = theirs.import(file.as_fd()).unwrap();
    assert_eq!(imported.resource_id(), memory.resource_id());
    assert_eq!(imported.memory(), memory.memory());

    theirs
        .fill(imported.at(0), 4, 0x0404_0404)
        .unwrap()
        .wait()
        .unwrap();
    assert_eq!(memory.map().unwrap().read(..4).unwrap().to_vec(), [4; 4]);

    drop(memory);
    assert_eq!(host.holdings(), (1, 0));
    drop(imported);
    assert_eq!(host.holdings(), (0, 0));
}

#[test]
fn import_into_the_same_context_shares_a_handle_that_is_closed_once() {
    let host = FakeHost::new();
    let context = host.open();
    let memory = allocate(&context, COHERENT);
    let file = memory.export().unwrap();
    let twice = [
        context.import(file.as_fd()).unwrap(),
        context.import(file.as_fd()).unwrap(),
    ];
    drop(memory);
    twice[0].map().unwrap().write(..).unwrap().fill(3);
    drop(twice);
    assert_eq!(host.holdings(), (0, 0));
}

#[test]
fn files_of_others_are_not_imported() {
    let context = FakeHost::new().open();
    let file = File::open("/dev/null").unwrap();
    assert!(matches!(
        context.import(file.as_fd()),
        Err(ShareError::Import(_))
    ));
}

#[test]
fn description_lists_who_maps_it() {
    let host = FakeHost::new();
    let context = host.open();
    let memory = allocate(&context, COHERENT);
    let description = memory.describe().unwrap();
    assert_eq!(description.memory, *memory.memory());
    assert_eq!(description.holder_count, 1);
    assert_eq!(description.holders[0].owner, Owner::Guest);
    assert_eq!(description.holders[0].caching, memory.memory().caching);
}
