//! What the three exporters hand out: files that are dma-bufs, with bytes in them.

use std::os::fd::{AsFd, OwnedFd};

use coherd_blob::backing::{BackingError, BackingKind, ExportKind, ReopenError, is_dma_buf};
use coherd_blob::exporter::{Allocated, Location, fd_caching};
use coherd_blob::{Backing, Exporter, MapInfo, MemoryProperties};
use coherd_tests::dma_buf::{Mapping, SystemHeap, Udmabuf, Vgem, map_flags, set_name};
use rustix::fs::{SeekFrom, ftruncate, seek};
use rustix::io::Errno;
use rustix::mm::MapFlags;

use super::{PAGE, SIZE, memfd};

/// What holds of the files of every exporter.
fn is_a_good_dma_buf(fd: &OwnedFd, exporter: &Exporter) {
    let size = usize::try_from(SIZE).unwrap();
    assert!(is_dma_buf(fd).unwrap());
    assert_eq!(Exporter::of(fd).unwrap(), *exporter);
    assert_eq!(seek(fd, SeekFrom::End(0)), Ok(SIZE));
    let stat = rustix::fs::fstat(fd).unwrap();
    assert_eq!(stat.st_size.cast_unsigned(), SIZE);
    cannot_be_used_as_a_plain_file(fd);

    let take = |kind, size| Backing::new(fd.try_clone().unwrap(), kind, size);
    let too_large = take(ExportKind::DmaBuf, SIZE + PAGE);
    assert!(matches!(too_large, Err(BackingError::TooSmall { .. })));
    for kind in [ExportKind::Opaque, ExportKind::Shm] {
        let other = take(kind, SIZE);
        assert!(matches!(other, Err(BackingError::NotMappable(_))));
    }
    let backing = take(ExportKind::DmaBuf, SIZE).unwrap();
    assert_eq!(backing.kind(), BackingKind::DmaBuf);
    assert_eq!(backing.data_offset(), 0);
    assert_eq!(backing.exporter(), exporter);
    assert!(matches!(backing.open_read_only(), Err(ReopenError::DmaBuf)));

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
        let fd = udmabuf.create_whole(&memfd::fit(SIZE)).unwrap();
        is_a_good_dma_buf(&fd, &Exporter::Udmabuf);
    }
}

#[test]
fn files_of_the_system_heap_are_good_dma_bufs() {
    if let Some(heap) = SystemHeap::find().unwrap() {
        is_a_good_dma_buf(&heap.allocate(SIZE).unwrap(), &Exporter::SystemHeap);
    }
}

#[test]
fn files_of_vgem_are_good_dma_bufs() {
    if let Some(vgem) = Vgem::find().unwrap() {
        let buffer = vgem.allocate(SIZE).unwrap();
        is_a_good_dma_buf(&buffer.fd().unwrap(), &Exporter::Drm);
    }
}

#[test]
fn a_name_that_somebody_gave_a_buffer_is_not_its_exporters() {
    let Some(heap) = SystemHeap::find().unwrap() else {
        return;
    };
    let fd = heap.allocate(SIZE).unwrap();
    set_name(&fd, c"x\nexp_name:\tudmabuf").unwrap();
    assert_eq!(Exporter::of(&fd).unwrap(), Exporter::SystemHeap);
}

#[test]
fn the_name_drm_alone_does_not_tell_how_a_mapping_is_cached() {
    let Some(vgem) = Vgem::find().unwrap() else {
        return;
    };
    let exporter = Exporter::of(vgem.allocate(SIZE).unwrap()).unwrap();
    assert_eq!(exporter.mmap_caching(), None);
    assert_eq!(fd_caching(&exporter, None), None);
    // As the driver allocates it.
    let allocated = Allocated {
        properties: MemoryProperties::HOST_VISIBLE | MemoryProperties::HOST_COHERENT,
        integrated: Some(true),
    };
    assert_eq!(
        fd_caching(&exporter, Some(allocated)),
        Some(MapInfo::WriteCombining)
    );
    assert_eq!(Location::of(&exporter, Some(allocated)), None);
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
