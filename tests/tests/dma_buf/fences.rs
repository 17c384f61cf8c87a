//! Fences of dma-bufs, as peers of the sync protocol get and give them.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use coherd::coherence::registry::NewBlob;
use coherd::coherence::{BlobRecord, Registry};
use coherd::mapping_type::MappingType;
use coherd::sync::{AllowList, SyncServer, SyncSocket};
use coherd_blob::backing::ExportKind;
use coherd_blob::{Access, Backing, MapInfo};
use coherd_sync::{Blob, Capabilities, Connection, OpenFlags, Options, Status};
use coherd_tests::dma_buf::{SystemHeap, Udmabuf, Vgem};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tempfile::TempDir;

use super::{SIZE, memfd};

const READ_WRITE: Access = Access::READ.union(Access::WRITE);
const SOON: Duration = Duration::from_millis(200);

/// A server with dma-bufs, and a peer of it.
struct Served {
    blobs: Vec<Blob>,
    _server: SyncServer,
    _folder: TempDir,
}

/// Opens each of these as a peer does.
fn served(files: Vec<OwnedFd>) -> Served {
    let registry = Arc::new(Registry::new().unwrap());
    let ids: Vec<u64> = files
        .into_iter()
        .map(|fd| {
            let backing = Backing::new(fd, ExportKind::DmaBuf, SIZE).unwrap();
            let types = MappingType {
                told: MapInfo::Cached,
                coherent: true,
                file: backing.mmap_caching(),
                effective: None,
            };
            registry.enter(NewBlob {
                size: SIZE,
                resource_id: 1,
                context_id: 0,
                record: Some(Arc::new(BlobRecord::new(backing, Some(types), None))),
            })
        })
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sync");
    let socket = SyncSocket::bind(&path).unwrap();
    let server = SyncServer::start(socket, AllowList::default(), registry).unwrap();
    let options = Options {
        name: "fences".to_owned(),
        capabilities: Capabilities::all(),
        ..Options::default()
    };
    let peer = Connection::connect(&path, &options).unwrap();
    assert_eq!(peer.capabilities(), Capabilities::all());
    let open = |id: &u64| peer.open(*id, READ_WRITE).unwrap();
    Served {
        blobs: ids.iter().map(open).collect(),
        _server: server,
        _folder: folder,
    }
}

fn is_done(fence: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(fence, PollFlags::IN)];
    poll(&mut fds, Some(&Timespec::default())).unwrap() == 1
}

#[test]
fn fence_of_a_busy_buffer_is_done_when_the_gpu_is() {
    let Some(vgem) = Vgem::find().unwrap() else {
        return;
    };
    let buffer = vgem.allocate(SIZE).unwrap();
    let served = served(vec![buffer.fd().unwrap()]);
    let [blob] = &served.blobs[..] else { panic!() };
    assert!(blob.info().flags.contains(OpenFlags::FENCES));
    assert!(is_done(&blob.export_fence(Access::READ).unwrap()));
    let busy = buffer.busy().unwrap();
    let fences = [Access::READ, Access::WRITE].map(|access| blob.export_fence(access).unwrap());
    assert!(!fences.iter().any(is_done));

    busy.signal().unwrap();

    assert!(fences.iter().all(is_done));
}

#[test]
fn imported_fence_keeps_who_begins_waiting_until_it_is_done() {
    let Some(vgem) = Vgem::find().unwrap() else {
        return;
    };
    let [first, second] = [(); 2].map(|()| vgem.allocate(SIZE).unwrap());
    let served = served(vec![first.fd().unwrap(), second.fd().unwrap()]);
    let [first_blob, second_blob] = &served.blobs[..] else {
        panic!()
    };
    let mapping = second_blob.map().unwrap();
    let busy = first.busy().unwrap();
    let fence = first_blob.export_fence(Access::READ).unwrap();
    mapping.read(..1).unwrap().end().unwrap();

    second_blob.import_fence(&fence, Access::WRITE).unwrap();

    let late = mapping.read_within(..1, SOON).unwrap_err();
    assert!(late.is_timed_out(), "{late}");
    busy.signal().unwrap();
    mapping.read(..1).unwrap().end().unwrap();
}

#[test]
fn file_that_has_no_fences_is_refused() {
    let Some(heap) = SystemHeap::find().unwrap() else {
        return;
    };
    let served = served(vec![heap.allocate(SIZE).unwrap()]);
    let refused = served.blobs[0].import_fence(memfd::fit(SIZE), Access::READ);
    assert_eq!(refused.unwrap_err().status(), Some(Status::Invalid));
}

#[test]
fn memory_that_no_gpu_uses_is_done_at_once() {
    let udmabuf = Udmabuf::find().unwrap();
    let udmabuf = udmabuf.map(|udmabuf| udmabuf.create_whole(&memfd::fit(SIZE)).unwrap());
    let heap = SystemHeap::find().unwrap();
    let heap = heap.map(|heap| heap.allocate(SIZE).unwrap());
    let served = served(udmabuf.into_iter().chain(heap).collect());
    for blob in &served.blobs {
        assert!(is_done(&blob.export_fence(Access::WRITE).unwrap()));
    }
}
