//! Brackets of CPU access: what DMA_BUF_IOCTL_SYNC takes, and what of it reaches an exporter.

use std::os::fd::AsFd;

use coherd_tests::dma_buf::{
    Call, Calls, Direction, Mapping, SyncFlags, SystemHeap, Udmabuf, Vgem, sync,
};
use rustix::io::Errno;

use super::{SIZE, memfd};

const READ: SyncFlags = SyncFlags::READ;
const WRITE: SyncFlags = SyncFlags::WRITE;
const BOTH: SyncFlags = SyncFlags::READ.union(SyncFlags::WRITE);
const END: SyncFlags = SyncFlags::END;

/// Accesses, and the directions the kernel makes of them.
const ACCESSES: [(SyncFlags, Direction); 3] = [
    (READ, Direction::FromDevice),
    (WRITE, Direction::ToDevice),
    (BOTH, Direction::Both),
];

fn flags_are_checked(fd: impl AsFd) {
    let unknown = SyncFlags::from_bits_retain(8);
    for flags in [
        SyncFlags::empty(),
        END,
        READ | unknown,
        WRITE | END | unknown,
    ] {
        assert_eq!(sync(&fd, flags), Err(Errno::INVAL), "{flags:?}");
    }
    assert_eq!(sync(&fd, BOTH), Ok(()));
    assert_eq!(sync(&fd, BOTH | END), Ok(()));
}

#[test]
fn flags_without_an_access_or_with_unknown_bits_are_refused() {
    if let Some(udmabuf) = Udmabuf::find().unwrap() {
        flags_are_checked(udmabuf.create_whole(&memfd::fit(SIZE)).unwrap());
    }
    if let Some(heap) = SystemHeap::find().unwrap() {
        flags_are_checked(heap.allocate(SIZE).unwrap());
    }
    if let Some(vgem) = Vgem::find().unwrap() {
        flags_are_checked(vgem.allocate(SIZE).unwrap());
    }
}

#[test]
fn what_is_no_dma_buf_has_no_brackets() {
    assert_eq!(
        sync(memfd::fit(SIZE), SyncFlags::empty()),
        Err(Errno::NOTTY)
    );
    assert_eq!(sync(memfd::fit(SIZE), BOTH), Err(Errno::NOTTY));
}

#[test]
fn udmabuf_refuses_an_end_before_the_first_start() {
    let Some(udmabuf) = Udmabuf::find().unwrap() else {
        return;
    };
    let fd = udmabuf.create_whole(&memfd::fit(SIZE)).unwrap();
    assert_eq!(sync(&fd, WRITE | END), Err(Errno::INVAL));
    assert_eq!(sync(&fd, WRITE), Ok(()));
    assert_eq!(sync(&fd, WRITE | END), Ok(()));
    // Ends are not counted.
    assert_eq!(sync(&fd, WRITE | END), Ok(()));
}

#[test]
fn the_others_take_an_end_without_a_start() {
    if let Some(heap) = SystemHeap::find().unwrap() {
        let fd = heap.allocate(SIZE).unwrap();
        assert_eq!(sync(&fd, WRITE | END), Ok(()));
    }
    if let Some(vgem) = Vgem::find().unwrap() {
        let buffer = vgem.allocate(SIZE).unwrap();
        assert_eq!(sync(&buffer, WRITE | END), Ok(()));
    }
}

fn reaches_the_exporter(fd: impl AsFd) {
    for (access, direction) in ACCESSES {
        let Some(calls) = Calls::watch().unwrap() else {
            return;
        };
        sync(&fd, access).unwrap();
        sync(&fd, access | END).unwrap();
        assert_eq!(
            calls.list().unwrap(),
            [
                Call::Sync(access),
                Call::Begin(direction),
                Call::Sync(access | END),
                Call::End(direction),
            ]
        );
    }
}

#[test]
fn brackets_reach_udmabuf_in_order_with_their_directions() {
    if let Some(udmabuf) = Udmabuf::find().unwrap() {
        reaches_the_exporter(udmabuf.create_whole(&memfd::fit(SIZE)).unwrap());
    }
}

#[test]
fn brackets_reach_the_system_heap_in_order_with_their_directions() {
    if let Some(heap) = SystemHeap::find().unwrap() {
        reaches_the_exporter(heap.allocate(SIZE).unwrap());
    }
}

#[test]
fn brackets_nest_as_far_as_the_kernel_is_concerned() {
    let Some(udmabuf) = Udmabuf::find().unwrap() else {
        return;
    };
    let fd = udmabuf.create_whole(&memfd::fit(SIZE)).unwrap();
    let again = fd.try_clone().unwrap();
    let memory = Mapping::new(&fd, usize::try_from(SIZE).unwrap()).unwrap();
    sync(&fd, BOTH).unwrap();
    sync(&again, READ).unwrap();
    memory.write(0, b"within");
    sync(&again, READ | END).unwrap();
    memory.write(6, b" both");
    sync(&fd, BOTH | END).unwrap();
    assert_eq!(memory.bytes(0, 11), b"within both");
}
