//! crosvm keeps every mapping across a reset; each goes when its place is needed.

use coherd::serve::Options;
use coherd_tests::frontend::{Config, Event, Flavour, MapRequest};
use coherd_tests::renderer::Recipe;
use coherd_tests::rig::Rig;

use crate::{PAGE, mappable, mappings, rig, with_context};

fn map(rig: &mut Rig, id: u32, page: u64, pages: u64) {
    rig.gpu
        .create_blob(&mappable(id, Recipe::SHM, pages * PAGE), &[])
        .unwrap();
    rig.gpu.map_blob(id, page * PAGE).unwrap();
}

/// Page and number of pages of each mapping the VMM has.
fn mapped(rig: &Rig) -> Vec<(u64, u64)> {
    let mappings = rig.frontend.window().unwrap().mappings();
    mappings
        .iter()
        .map(|map| (map.shm_offset / PAGE, map.len / PAGE))
        .collect()
}

/// Pages at which mappings were removed since `mark`.
fn removed_since(rig: &Rig, mark: usize) -> Vec<u64> {
    let events = rig.frontend.log().since(mark).into_iter();
    events
        .filter_map(|event| match event {
            Event::Removed(MapRequest { shm_offset, .. }) => Some(shm_offset / PAGE),
            _ => None,
        })
        .collect()
}

#[test]
fn mappings_outlive_a_reset_and_go_when_their_place_is_used_again() {
    let mut rig = rig(Flavour::Crosvm);
    map(&mut rig, 1, 0, 2);
    map(&mut rig, 2, 4, 4);
    let mark = rig.frontend.log().mark();

    rig.reboot().unwrap();
    rig.gpu.display_info().unwrap();
    assert_eq!(mapped(&rig), [(0, 2), (4, 4)]);
    assert!(removed_since(&rig, mark).is_empty());

    let mut rig = with_context(rig);
    map(&mut rig, 1, 1, 4);
    assert_eq!(removed_since(&rig, mark), [0, 4]);
    assert_eq!(mapped(&rig), [(1, 4)]);
    rig.finish().unwrap();
}

#[test]
fn mappings_that_are_not_in_the_way_stay() {
    let mut rig = rig(Flavour::Crosvm);
    map(&mut rig, 1, 0, 1);
    map(&mut rig, 2, 8, 1);
    let mark = rig.frontend.log().mark();
    rig.reboot().unwrap();

    let mut rig = with_context(rig);
    map(&mut rig, 1, 8, 1);
    map(&mut rig, 2, 16, 1);

    assert_eq!(removed_since(&rig, mark), [8]);
    assert_eq!(mapped(&rig), [(0, 1), (8, 1), (16, 1)]);
    rig.finish().unwrap();
}

#[test]
fn mappings_survive_many_resets_without_an_overlap() {
    let mut rig = rig(Flavour::Crosvm);
    for round in 0..10 {
        for id in 1..=6u32 {
            let page = u64::from(id) * 3 + round % 3;
            map(&mut rig, id, page, 1 + round % 3);
        }
        rig.gpu.unmap_blob(2).unwrap();
        rig.gpu.unref(4).unwrap();
        rig.reboot().unwrap();
        rig = with_context(rig);
    }
    assert_eq!(rig.frontend.fault(), None);
    rig.finish().unwrap();
}

#[test]
fn left_over_mappings_make_room_when_the_budget_is_used_up() {
    let options = Options {
        quotas: mappings(4),
        ..Options::default()
    };
    let rig = Rig::with(Config::new(Flavour::Crosvm), options).unwrap();
    let mut rig = with_context(rig);
    (1..=4u32).for_each(|id| map(&mut rig, id, id.into(), 1));
    rig.reboot().unwrap();

    let mut rig = with_context(rig);
    for id in 1..=4u32 {
        map(&mut rig, id, 100 + u64::from(id), 1);
        assert!(mapped(&rig).len() <= 4);
    }
    rig.gpu
        .create_blob(&mappable(5, Recipe::SHM, PAGE), &[])
        .unwrap();
    assert_eq!(crate::code(rig.gpu.map_blob(5, 0)), 0x1201);
    assert_eq!(mapped(&rig), [(101, 1), (102, 1), (103, 1), (104, 1)]);
    rig.finish().unwrap();
}

#[test]
fn qemu_is_not_asked_to_unmap_what_a_reset_dropped() {
    let mut rig = rig(Flavour::Qemu);
    map(&mut rig, 1, 0, 2);
    let mark = rig.frontend.log().mark();

    rig.reboot().unwrap();
    let mut rig = with_context(rig);
    map(&mut rig, 1, 1, 2);

    let unmaps = rig.frontend.log().since(mark).into_iter();
    let unmaps = unmaps.filter(|event| matches!(event, Event::Taken { request: 10, .. }));
    assert_eq!(unmaps.count(), 0);
    assert_eq!(mapped(&rig), [(1, 2)]);
    rig.finish().unwrap();
}
