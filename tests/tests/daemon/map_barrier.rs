//! The guest touches a mapping only once it is there.

use coherd_tests::driver::Gpu;
use coherd_tests::frontend::{Event, Flavour, Frontend, Stage};
use coherd_tests::renderer::Recipe;

use crate::{PAGE, mappable, rig};

const SHARED_OBJECT_REMOVE: u32 = 7;
const SHMEM_MAP: u32 = 9;
const SHMEM_UNMAP: u32 = 10;

/// What happened on the back channel, in short.
fn back_channel(frontend: &Frontend) -> Vec<String> {
    let short = |event| match event {
        Event::Taken { request, .. } => Some(format!("taken {request}")),
        Event::Replied { request, .. } => Some(format!("replied {request}")),
        Event::Committed(_) => Some("committed".to_owned()),
        Event::Removed(_) => Some("removed".to_owned()),
        _ => None,
    };
    let events = frontend.log().events();
    events.into_iter().filter_map(short).collect()
}

#[test]
fn qemu_serves_a_barrier_after_the_commit_and_before_the_guest_is_answered() {
    let mut rig = rig(Flavour::Qemu);
    rig.gpu
        .create_blob(&mappable(1, Recipe::SHM, PAGE), &[])
        .unwrap();
    let gate = rig.frontend.gate(Stage::BeforeCommit);
    let map = rig.gpu.send_map_blob(1, 0).unwrap();
    assert!(gate.wait_held(rig.frontend.deadline()));

    let window = rig.frontend.window().unwrap();
    assert_eq!(window.uncommitted(), 1);
    assert_eq!(rig.gpu.try_take(map).unwrap(), None);
    gate.open();
    let answer = rig.gpu.wait(map, rig.frontend.deadline()).unwrap();

    // A guest writes at once.
    window.write(0, b"first").unwrap();
    assert_eq!(Gpu::map_info(answer).unwrap(), 1);
    assert_eq!(rig.host.read(1, 0, 5).unwrap(), b"first");
    assert_eq!(window.early_accesses(), 0);
    assert_eq!(
        back_channel(&rig.frontend),
        ["taken 9", "replied 9", "committed", "taken 7", "replied 7"]
    );
    rig.finish().unwrap();
}

#[test]
fn unmap_is_answered_after_qemu_committed_it() {
    let mut rig = rig(Flavour::Qemu);
    rig.gpu
        .create_blob(&mappable(1, Recipe::SHM, PAGE), &[])
        .unwrap();
    rig.gpu.map_blob(1, 0).unwrap();

    rig.gpu.unmap_blob(1).unwrap();

    let happened = back_channel(&rig.frontend);
    let unmap = ["taken 10", "replied 10", "removed", "taken 7", "replied 7"];
    assert_eq!(happened[5..], unmap);
    rig.finish().unwrap();
}

#[test]
fn every_map_on_qemu_is_visible_when_it_is_answered() {
    let mut rig = rig(Flavour::Qemu);
    for id in 1..=40 {
        let offset = u64::from(id) * PAGE;
        rig.gpu
            .create_blob(&mappable(id, Recipe::SHM, PAGE), &[])
            .unwrap();
        rig.gpu.map_blob(id, offset).unwrap();
        let window = rig.frontend.window().unwrap();
        window.write(offset, &id.to_le_bytes()).unwrap();
        assert_eq!(rig.host.read(id, 0, 4).unwrap(), id.to_le_bytes());
    }
    assert_eq!(rig.frontend.window().unwrap().early_accesses(), 0);
    rig.finish().unwrap();
}

#[test]
fn crosvm_is_sent_nothing_that_it_does_not_know() {
    let mut rig = rig(Flavour::Crosvm);
    for id in 1..=3 {
        let blob = mappable(id, Recipe::SHM, PAGE);
        rig.gpu.create_blob(&blob, &[]).unwrap();
        rig.gpu.map_blob(id, u64::from(id) * PAGE).unwrap();
    }
    rig.gpu.unmap_blob(1).unwrap();
    rig.gpu.unref(2).unwrap();
    rig.reboot().unwrap();
    rig.gpu.display_info().unwrap();

    let requests = rig.frontend.log().events().into_iter();
    let codes: Vec<u32> = requests
        .filter_map(|event| match event {
            Event::Taken {
                request,
                need_reply,
                ..
            } => Some((request, need_reply)),
            _ => None,
        })
        .map(|(request, need_reply)| {
            assert!(need_reply, "{request}");
            request
        })
        .collect();
    let (map, unmap) = (SHMEM_MAP, SHMEM_UNMAP);
    assert_eq!(codes, [map, map, map, unmap, unmap]);
    assert!(!codes.contains(&SHARED_OBJECT_REMOVE));
    rig.finish().unwrap();
}
