//! QEMU puts every mapping into the memory table: such a region is not guest RAM.

use std::fs;

use coherd::serve::Options;
use coherd_tests::driver::Buffer;
use coherd_tests::frontend::{Config, Event, Flavour, RamRange, WINDOW_GPA};
use coherd_tests::renderer::Recipe;
use coherd_tests::rig::Rig;
use vhost::vhost_user::message::FrontendReq;
use vm_memory::GuestAddress;

use crate::{PAGE, code, mappable, pattern, rig, with_context};

/// How often a file is mapped into this process, which is the VMM and the daemon.
fn times_mapped(inode: u64) -> usize {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let inode = inode.to_string();
    maps.lines()
        .filter(|line| line.split_whitespace().nth(4) == Some(&*inode))
        .count()
}

fn map_one(rig: &mut Rig) {
    rig.gpu
        .create_blob(&mappable(1, Recipe::SHM, PAGE), &[])
        .unwrap();
    rig.gpu.map_blob(1, 3 * PAGE).unwrap();
}

fn with_slots() -> Rig {
    let options = Options {
        memory_slots: true,
        ..Options::default()
    };
    with_context(Rig::with(Config::new(Flavour::Qemu), options).unwrap())
}

/// Files sent along with `request`, each time that it was sent.
fn files_sent(rig: &Rig, wanted: FrontendReq) -> Vec<usize> {
    let events = rig.frontend.log().events().into_iter();
    events
        .filter_map(|event| match event {
            Event::Sent { request, fds, .. } if request == wanted => Some(fds),
            _ => None,
        })
        .collect()
}

#[test]
fn mapping_in_the_table_is_not_mapped_by_the_daemon() {
    let mut rig = rig(Flavour::Qemu);
    map_one(&mut rig);

    let inode = rig.host.inode(1).unwrap();

    assert_eq!(files_sent(&rig, FrontendReq::SET_MEM_TABLE), [1, 2]);
    assert_eq!(times_mapped(inode), 1);
    rig.finish().unwrap();
}

#[test]
fn mapping_in_a_memory_slot_is_not_mapped_by_the_daemon() {
    let mut rig = with_slots();
    map_one(&mut rig);

    let inode = rig.host.inode(1).unwrap();

    assert_eq!(files_sent(&rig, FrontendReq::ADD_MEM_REG), [1, 1]);
    assert_eq!(times_mapped(inode), 1);
    rig.gpu.unmap_blob(1).unwrap();
    assert_eq!(files_sent(&rig, FrontendReq::REM_MEM_REG), [0]);
    assert_eq!(times_mapped(inode), 0);
    rig.finish().unwrap();
}

#[test]
fn backing_in_the_window_is_refused() {
    for mut rig in [rig(Flavour::Qemu), with_slots()] {
        map_one(&mut rig);
        let inside = Buffer {
            addr: GuestAddress(WINDOW_GPA + 3 * PAGE),
            len: 4096,
        };
        let guest = coherd_tests::driver::Blob {
            mem: 1,
            blob_id: 0,
            ..mappable(2, Recipe::SHM, PAGE)
        };

        assert_eq!(code(rig.gpu.create_blob(&guest, &[inside])), 0x1200);
        let format = coherd_protocol::gpu::Format::B8G8R8X8;
        rig.gpu.create_2d(3, format, 16, 16).unwrap();
        assert_eq!(code(rig.gpu.attach_backing(3, &[inside])), 0x1200);
        rig.finish().unwrap();
    }
}

#[test]
fn rings_and_backings_work_through_many_tables() {
    for mut rig in [rig(Flavour::Qemu), with_slots()] {
        let page = rig.gpu.buffer(&pattern(3, PAGE)).unwrap();
        let format = coherd_protocol::gpu::Format::B8G8R8X8;
        rig.gpu.create_2d(100, format, 32, 32).unwrap();
        rig.gpu.attach_backing(100, &[page]).unwrap();

        for id in 1..=20 {
            let blob = mappable(id, Recipe::SHM, PAGE);
            rig.gpu.create_blob(&blob, &[]).unwrap();
            rig.gpu.map_blob(id, u64::from(id) * PAGE).unwrap();
        }
        for id in 1..=20 {
            rig.gpu.unref(id).unwrap();
        }

        let all = coherd_protocol::gpu::wire::Rect {
            x: 0.into(),
            y: 0.into(),
            width: 32.into(),
            height: 32.into(),
        };
        rig.gpu.transfer_to_host_2d(100, all, 0).unwrap();
        rig.finish().unwrap();
    }
}

#[test]
fn ram_in_several_regions_is_used_up_to_its_edges() {
    let mut config = Config::new(Flavour::Crosvm);
    let high = 1 << 32;
    config.ram = vec![
        RamRange {
            gpa: 0,
            size: 1 << 20,
        },
        RamRange {
            gpa: high,
            size: 1 << 20,
        },
    ];
    let rig = Rig::with(config, Options::default()).unwrap();
    let mut rig = with_context(rig);
    let buffer = |addr, len| Buffer {
        addr: GuestAddress(addr),
        len,
    };
    let format = coherd_protocol::gpu::Format::B8G8R8X8;

    for (id, entry, fits) in [
        (1, buffer((1 << 20) - 4096, 4096), true),
        (2, buffer((1 << 20) - 4096, 4097), false),
        (3, buffer(high + (1 << 20) - 1, 1), true),
        (4, buffer(high - 4096, 8192), false),
        (5, buffer(u64::MAX, 1), false),
        (6, buffer(0, 0), false),
    ] {
        rig.gpu.create_2d(id, format, 16, 16).unwrap();
        let attached = rig.gpu.attach_backing(id, &[entry]);
        assert_eq!(attached.is_ok(), fits, "{entry:?}");
    }
    rig.finish().unwrap();
}
