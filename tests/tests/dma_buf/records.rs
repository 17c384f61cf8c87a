//! The daemon's way of accessing a blob, on files for which the kernel does its part.

use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use coherd::coherence::{AccessError, BlobRecord, Patience, PatienceError};
use coherd::mapping_type::MappingType;
use coherd_blob::backing::ExportKind;
use coherd_blob::{Access, Backing, Holder, MapInfo};
use coherd_tests::dma_buf::{SystemHeap, Udmabuf, Vgem};

use super::{SIZE, memfd};

const SOON: Duration = Duration::from_millis(200);
/// Far more than [`SOON`], and far less than the ten seconds of a vgem fence.
const LATE: Duration = Duration::from_secs(5);

fn record(fd: OwnedFd) -> BlobRecord {
    let backing = Backing::new(fd, ExportKind::DmaBuf, SIZE).unwrap();
    let types = MappingType {
        told: MapInfo::Cached,
        coherent: true,
        file: backing.mmap_caching(),
        effective: None,
    };
    BlobRecord::new(backing, Some(types), None)
}

fn patience() -> Patience<'static> {
    Patience::until(Instant::now() + SOON)
}

fn open(record: &BlobRecord) -> u32 {
    record.held().iter().map(|held| held.open).sum()
}

#[test]
fn accesses_begin_and_end_nested_and_overlapping() {
    let udmabuf = Udmabuf::find().unwrap();
    let udmabuf = udmabuf.map(|udmabuf| udmabuf.create_whole(&memfd::fit(SIZE)).unwrap());
    let heap = SystemHeap::find().unwrap();
    let heap = heap.map(|heap| heap.allocate(SIZE).unwrap());
    for fd in [udmabuf, heap].into_iter().flatten() {
        let record = record(fd);
        let begin = |holder, access, range| record.begin(holder, access, range, &patience());
        let outer = begin(Holder::Guest, Access::WRITE, 0..SIZE).unwrap();
        let inner = begin(Holder::Guest, Access::READ, 0..1).unwrap();
        let other = begin(Holder::Daemon, Access::all(), 1..SIZE).unwrap();
        assert_eq!(open(&record), 3);
        for bracket in [outer, inner, other] {
            record.end(bracket, &patience()).unwrap();
        }
        assert_eq!(open(&record), 0);
        assert!(matches!(
            begin(Holder::Guest, Access::READ, 0..SIZE + 1),
            Err(AccessError::Bracket(_))
        ));
        assert_eq!(open(&record), 0);
    }
}

#[test]
fn access_that_would_wait_for_a_busy_gpu_gives_up_in_time() {
    let Some(vgem) = Vgem::find().unwrap() else {
        return;
    };
    let buffer = vgem.allocate(SIZE).unwrap();
    let record = record(buffer.fd().unwrap());
    let fence = buffer.busy().unwrap();
    let began = Instant::now();
    for access in [Access::READ, Access::WRITE] {
        let refused = record.begin(Holder::Guest, access, 0..SIZE, &patience());
        assert_eq!(refused, Err(PatienceError::TimedOut.into()));
    }
    let given_up = AtomicBool::new(true);
    let cancelled = Patience::cancellable(LATE, &given_up);
    let refused = record.begin(Holder::Guest, Access::READ, 0..SIZE, &cancelled);
    assert_eq!(refused, Err(PatienceError::Cancelled.into()));
    assert!(began.elapsed() < LATE);
    assert_eq!(open(&record), 0);

    fence.signal().unwrap();

    let bracket = record.begin(Holder::Guest, Access::all(), 0..SIZE, &patience());
    record.end(bracket.unwrap(), &patience()).unwrap();
}
