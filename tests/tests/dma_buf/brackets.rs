//! Brackets of CPU access: what DMA_BUF_IOCTL_SYNC takes, and what of it reaches an exporter.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use coherd_blob::bracket::{Action, BracketId, Brackets, Limits, Means, dma_buf_sync_flags};
use coherd_blob::{Access, Holder};
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

/// A buffer and its book, whose actions are carried out at once.
struct Book {
    fd: OwnedFd,
    brackets: Brackets,
}

impl Book {
    fn new(fd: OwnedFd) -> Self {
        let limits = Limits {
            per_holder: 8,
            total: 8,
        };
        Self {
            fd,
            brackets: Brackets::new(Means::DmaBuf, SIZE, limits),
        }
    }

    fn begin(&mut self, holder: Holder, access: Access) -> BracketId {
        let deadline = Instant::now() + Duration::from_secs(60);
        let begun = self.brackets.begin(holder, access, 0..SIZE, deadline);
        let begun = begun.unwrap();
        self.carry_out(&begun.actions);
        let _ = self.brackets.started(begun.id).unwrap();
        begun.id
    }

    fn end(&mut self, holder: Holder, id: BracketId) {
        let actions = self.brackets.end(holder, id).unwrap();
        self.carry_out(&actions);
    }

    fn carry_out(&self, actions: &[Action]) {
        for action in actions {
            let Action::DmaBufSync { edge, access } = action else {
                panic!("{action:?} on a dma-buf");
            };
            let flags = SyncFlags::from_bits_retain(dma_buf_sync_flags(*edge, *access));
            sync(&self.fd, flags).unwrap();
        }
    }
}

/// The flags of each SYNC that the kernel has seen.
fn syncs(calls: &Calls) -> Vec<SyncFlags> {
    let flags = |call| match call {
        Call::Sync(flags) => Some(flags),
        Call::Begin(_) | Call::End(_) => None,
    };
    calls
        .list()
        .unwrap()
        .into_iter()
        .filter_map(flags)
        .collect()
}

fn each_bracket_is_one_start_and_one_end(fd: OwnedFd) {
    let mut book = Book::new(fd);
    for (access, flags) in [
        (Access::READ, READ),
        (Access::WRITE, WRITE),
        (Access::READ | Access::WRITE, BOTH),
    ] {
        let Some(calls) = Calls::watch().unwrap() else {
            return;
        };
        let id = book.begin(Holder::Guest, access);
        book.end(Holder::Guest, id);
        assert_eq!(syncs(&calls), [flags, flags | END]);
    }
}

fn a_reader_amid_a_writer_loses_nothing_of_it(fd: OwnedFd) {
    let Some(calls) = Calls::watch().unwrap() else {
        return;
    };
    let memory = Mapping::new(&fd, usize::try_from(SIZE).unwrap()).unwrap();
    let mut book = Book::new(fd);
    let writer = book.begin(Holder::Guest, Access::WRITE);
    memory.write(0, b"written before");
    let reader = book.begin(Holder::Vmm, Access::READ);
    assert_eq!(memory.bytes(0, 14), b"written before");
    memory.write(0, b"written amid..");
    book.end(Holder::Vmm, reader);
    book.end(Holder::Guest, writer);
    assert_eq!(memory.bytes(0, 14), b"written amid..");
    assert_eq!(
        syncs(&calls),
        [WRITE, WRITE | END, WRITE, READ, BOTH | END],
        "what was written before is flushed before a START with READ may discard it, and the \
         writer goes on writing"
    );
}

#[test]
fn the_books_brackets_are_those_the_kernel_gets_from_every_exporter() {
    if let Some(udmabuf) = Udmabuf::find().unwrap() {
        let create = || udmabuf.create_whole(&memfd::fit(SIZE)).unwrap();
        each_bracket_is_one_start_and_one_end(create());
        a_reader_amid_a_writer_loses_nothing_of_it(create());
    }
    if let Some(heap) = SystemHeap::find().unwrap() {
        each_bracket_is_one_start_and_one_end(heap.allocate(SIZE).unwrap());
        a_reader_amid_a_writer_loses_nothing_of_it(heap.allocate(SIZE).unwrap());
    }
    if let Some(vgem) = Vgem::find().unwrap() {
        let create = || vgem.allocate(SIZE).unwrap().fd().unwrap();
        each_bracket_is_one_start_and_one_end(create());
        a_reader_amid_a_writer_loses_nothing_of_it(create());
    }
}
