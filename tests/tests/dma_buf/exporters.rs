//! What the three exporters hand out: files that are dma-bufs, with bytes in them.

use std::os::fd::{AsFd, OwnedFd};

use coherd_blob::Backing;
use coherd_blob::backing::{BackingError, BackingKind, ExportKind, is_dma_buf};
use coherd_tests::dma_buf::{Mapping, SystemHeap, Udmabuf, Vgem, map_flags};
use rustix::fs::{SeekFrom, ftruncate, seek};
use rustix::io::Errno;
use rustix::mm::MapFlags;

use super::{PAGE, SIZE, memfd};

/// What holds of every exporter's files.
fn is_a_good_dma_buf(fd: OwnedFd) {
    let size = usize::try_from(SIZE).unwrap();
    assert!(is_dma_buf(&fd).unwrap());
    assert_eq!(seek(&fd, SeekFrom::End(0)), Ok(SIZE));
    assert_eq!(
        rustix::fs::fstat(&fd).unwrap().st_size.cast_unsigned(),
        SIZE
    );
    cannot_be_used_as_a_plain_file(&fd);

    let too_large = Backing::new(fd.try_clone().unwrap(), ExportKind::DmaBuf, SIZE + 1);
    assert!(matches!(too_large, Err(BackingError::TooSmall { .. })));
    let opaque = Backing::new(fd.try_clone().unwrap(), ExportKind::Opaque, SIZE);
    assert!(matches!(opaque, Err(BackingError::NotMappable(_))));
    let backing = Backing::new(fd, ExportKind::DmaBuf, SIZE).unwrap();
    assert_eq!(
        (backing.kind(), backing.data_offset()),
        (BackingKind::DmaBuf, 0)
    );

    let [ours, theirs] = [(); 2].map(|()| Mapping::new(&backing, size).unwrap());
    ours.write(0, b"first");
    ours.write(size - 4, b"last");
    assert_eq!(theirs.bytes(0, 5), b"first");
    assert_eq!(theirs.bytes(size - 4, 4), b"last");
}

fn cannot_be_used_as_a_plain_file(fd: impl AsFd) {
    let size = usize::try_from(SIZE).unwrap();
    let private = map_flags(&fd, size, MapFlags::PRIVATE);
    assert_eq!(private, Err(Errno::INVAL));
    let longer = Mapping::new(&fd, size + 1);
    assert_eq!(longer.unwrap_err(), Errno::INVAL);
    assert_eq!(rustix::io::read(&fd, &mut [0; 8]), Err(Errno::INVAL));
    assert_eq!(ftruncate(&fd, PAGE), Err(Errno::INVAL));
}

#[test]
fn udmabuf_shares_the_bytes_of_its_memfd() {
    let Some(udmabuf) = Udmabuf::find().unwrap() else {
        return;
    };
    let memfd = memfd::fit(SIZE);
    let memory = Mapping::new(&memfd, usize::try_from(SIZE).unwrap()).unwrap();
    memory.write(4096, b"from the memfd");

    let fd = udmabuf.create_whole(&memfd).unwrap();
    let shared = Mapping::new(&fd, usize::try_from(SIZE).unwrap()).unwrap();

    assert_eq!(shared.bytes(4096, 14), b"from the memfd");
    shared.write(0, b"from the dma-buf");
    assert_eq!(memory.bytes(0, 16), b"from the dma-buf");
}

#[test]
fn files_of_udmabuf_are_good_dma_bufs() {
    if let Some(udmabuf) = Udmabuf::find().unwrap() {
        is_a_good_dma_buf(udmabuf.create_whole(&memfd::fit(SIZE)).unwrap());
    }
}

#[test]
fn files_of_the_system_heap_are_good_dma_bufs() {
    if let Some(heap) = SystemHeap::find().unwrap() {
        is_a_good_dma_buf(heap.allocate(SIZE).unwrap());
    }
}

#[test]
fn files_of_vgem_are_good_dma_bufs() {
    if let Some(vgem) = Vgem::find().unwrap() {
        is_a_good_dma_buf(vgem.allocate(SIZE).unwrap().fd().unwrap());
    }
}

#[test]
fn fresh_pages_of_the_system_heap_are_zero() {
    let Some(heap) = SystemHeap::find().unwrap() else {
        return;
    };
    let size = usize::try_from(SIZE).unwrap();
    let memory = Mapping::new(heap.allocate(SIZE).unwrap(), size).unwrap();
    assert!(memory.bytes(0, size).iter().all(|byte| *byte == 0));
}
