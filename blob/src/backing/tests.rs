//! Every file that is taken, and every refusal.

use super::*;
use rustix::fs::{MemfdFlags, Mode};
use std::os::fd::AsRawFd;

fn memfd(name: &str, size: u64) -> OwnedFd {
    let fd = rustix::fs::memfd_create(name, MemfdFlags::ALLOW_SEALING).unwrap();
    rustix::fs::ftruncate(&fd, size).unwrap();
    fd
}

fn reopen(fd: &OwnedFd, flags: OFlags) -> OwnedFd {
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    rustix::fs::open(path, flags, Mode::empty()).unwrap()
}

fn llvmpipe_fd(offset: u64, size: u64) -> OwnedFd {
    let fd = memfd("llvmpipe memory fd", 4096 + size + 40);
    let header = [(size + 4136).to_le_bytes(), offset.to_le_bytes()].concat();
    rustix::io::pwrite(&fd, &header, 0).unwrap();
    fd
}

#[test]
fn memfd_is_taken_and_sealed() {
    let fd = memfd("ring", 8192);

    let backing = Backing::new(fd, ExportKind::Shm, 8192).unwrap();

    assert_eq!(backing.kind(), BackingKind::Memfd);
    assert_eq!(backing.data_offset(), 0);
    let seals = rustix::fs::fcntl_get_seals(&backing).unwrap();
    assert!(seals.contains(SealFlags::SHRINK));
}

#[test]
fn memfd_smaller_than_the_blob_is_refused() {
    let error = Backing::new(memfd("ring", 4096), ExportKind::Shm, 8192).unwrap_err();
    assert!(matches!(
        error,
        BackingError::TooSmall {
            file: 4096,
            blob: 8192,
            offset: 0
        }
    ));
}

#[test]
fn size_that_overflows_with_the_offset_is_refused() {
    let fd = llvmpipe_fd(4096, 4096);
    let error = Backing::new(fd, ExportKind::Opaque, u64::MAX - 100).unwrap_err();
    assert!(matches!(error, BackingError::TooSmall { .. }));
}

#[test]
fn memfd_that_cannot_be_sealed_is_refused() {
    let fd = memfd("ring", 4096);
    rustix::fs::fcntl_add_seals(&fd, SealFlags::SEAL).unwrap();
    let error = Backing::new(fd, ExportKind::Shm, 4096).unwrap_err();
    assert!(matches!(error, BackingError::CanShrink));
}

#[test]
fn read_only_fd_is_refused() {
    let read_only = reopen(&memfd("ring", 4096), OFlags::RDONLY);
    let error = Backing::new(read_only, ExportKind::Shm, 4096).unwrap_err();
    assert!(matches!(error, BackingError::NotReadWrite));
}

#[test]
fn read_only_fd_is_enough_to_read() {
    let fd = memfd("ring", 4096);
    rustix::fs::fcntl_add_seals(&fd, SealFlags::SHRINK).unwrap();
    let read_only = reopen(&fd, OFlags::RDONLY);

    let backing = Backing::with_access(read_only, ExportKind::Shm, 4096, Access::READ).unwrap();

    assert_eq!(backing.access(), Access::READ);
    let backing = Backing::with_access(fd, ExportKind::Shm, 4096, Access::READ).unwrap();
    assert_eq!(backing.access(), Access::READ | Access::WRITE);
}

#[test]
fn read_only_fd_that_can_shrink_is_refused() {
    let read_only = reopen(&memfd("ring", 4096), OFlags::RDONLY);
    let error = Backing::with_access(read_only, ExportKind::Shm, 4096, Access::READ).unwrap_err();
    assert!(matches!(error, BackingError::CanShrink));
}

#[test]
fn fd_that_cannot_be_read_is_refused() {
    for flags in [OFlags::WRONLY, OFlags::PATH, OFlags::PATH | OFlags::RDWR] {
        for needed in [Access::READ, Access::empty()] {
            let fd = reopen(&memfd("ring", 4096), flags);
            let error = Backing::with_access(fd, ExportKind::Shm, 4096, needed).unwrap_err();
            assert!(matches!(error, BackingError::NotReadable), "{flags:?}");
        }
        let fd = reopen(&memfd("ring", 4096), flags);
        let error = Backing::with_access(fd, ExportKind::Shm, 4096, Access::WRITE).unwrap_err();
        assert!(matches!(error, BackingError::NotReadWrite), "{flags:?}");
    }
}

#[test]
fn what_is_exported_must_be_what_it_is_called() {
    let (ram, lavapipe) = (memfd("ring", 8192), llvmpipe_fd(4096, 4096));
    let memfds = [Exporter::Memfd, Exporter::HugetlbMemfd];
    let dma_bufs = ["udmabuf", "system", "drm", "i915", "msm"].map(Exporter::from_name);
    for exporter in &memfds {
        for kind in [ExportKind::DmaBuf, ExportKind::Shm] {
            let found = layout(ram.as_fd(), kind, exporter).unwrap();
            assert_eq!(found, (BackingKind::Memfd, 0));
        }
        let found = layout(lavapipe.as_fd(), ExportKind::Opaque, exporter).unwrap();
        assert_eq!(found, (BackingKind::MemfdWithHeader, 4096));
    }
    for exporter in &dma_bufs {
        let found = layout(ram.as_fd(), ExportKind::DmaBuf, exporter).unwrap();
        assert_eq!(found, (BackingKind::DmaBuf, 0));
        for kind in [ExportKind::Shm, ExportKind::Opaque] {
            let error = layout(lavapipe.as_fd(), kind, exporter).unwrap_err();
            assert!(matches!(error, BackingError::NotMappable(_)), "{exporter}");
        }
    }
}

#[test]
fn empty_blob_is_refused() {
    let error = Backing::new(memfd("ring", 4096), ExportKind::Shm, 0).unwrap_err();
    assert!(matches!(error, BackingError::Empty));
}

#[test]
fn blob_that_is_not_whole_pages_is_refused() {
    for size in [1, 4095, 4097] {
        let error = Backing::new(memfd("ring", 8192), ExportKind::Shm, size).unwrap_err();
        assert!(
            matches!(error, BackingError::Unaligned { blob, offset: 0, .. } if blob == size),
            "{error}"
        );
    }
}

#[test]
fn offset_that_is_not_a_whole_page_is_refused() {
    // As an llvmpipe memory fd on a host with pages of 16 KiB.
    let fd = memfd("x", 65536);
    let error = check_extent(fd.as_fd(), 4096, 16384, 16384).unwrap_err();
    assert!(matches!(
        error,
        BackingError::Unaligned {
            blob: 16384,
            offset: 4096,
            page: 16384
        }
    ));
}

#[test]
fn last_page_of_a_file_counts_as_a_whole() {
    let backing = Backing::new(memfd("ring", 4097), ExportKind::Shm, 8192).unwrap();
    assert_eq!(backing.size(), 8192);
}

#[test]
fn memfd_is_cached_and_writable() {
    let backing = Backing::new(memfd("ring", 4096), ExportKind::DmaBuf, 4096).unwrap();
    assert_eq!(*backing.exporter(), Exporter::Memfd);
    assert_eq!(backing.mmap_caching(), Some(MapInfo::Cached));
    assert_eq!(backing.access(), Access::READ | Access::WRITE);
    assert_eq!(
        backing.page_size(),
        rustix::param::page_size().try_into().unwrap()
    );
}

#[test]
fn memfd_of_huge_pages_has_huge_pages() {
    let flags = MemfdFlags::ALLOW_SEALING | MemfdFlags::HUGETLB | MemfdFlags::HUGE_2MB;
    let huge = 2 << 20;
    let make = || -> Result<OwnedFd, Errno> {
        let fd = rustix::fs::memfd_create("huge", flags)?;
        rustix::fs::ftruncate(&fd, huge)?;
        Ok(fd)
    };
    let fd = match make() {
        Ok(fd) => fd,
        Err(error) => {
            println!("SKIPPED: a kernel without huge pages of 2 MiB: {error}");
            return;
        }
    };

    let backing = Backing::new(fd, ExportKind::Shm, huge).unwrap();

    assert_eq!(*backing.exporter(), Exporter::HugetlbMemfd);
    assert_eq!(backing.kind(), BackingKind::Memfd);
    assert_eq!(backing.page_size(), huge);
    let error = Backing::new(make().unwrap(), ExportKind::Shm, 4096).unwrap_err();
    assert!(matches!(error, BackingError::Unaligned { page, .. } if page == huge));
}

#[test]
fn memfd_is_opened_again_without_the_right_to_write() {
    let backing = Backing::new(memfd("ring", 4096), ExportKind::Shm, 4096).unwrap();

    let read_only = backing.open_read_only().unwrap();

    assert_eq!(FileId::of(&read_only).unwrap(), backing.id());
    let flags = rustix::fs::fcntl_getfl(&read_only).unwrap();
    assert_eq!(flags & OFlags::RWMODE, OFlags::RDONLY);
    assert_eq!(rustix::io::pwrite(&read_only, b"x", 0), Err(Errno::BADF));
    assert!(
        rustix::io::fcntl_getfd(&read_only)
            .unwrap()
            .contains(rustix::io::FdFlags::CLOEXEC)
    );
}

#[test]
fn dma_buf_is_not_opened_again() {
    let fd = memfd("x", 4096);
    for name in ["udmabuf", "system", "drm", "i915", "msm"] {
        let error = reopen::read_only(fd.as_fd(), &Exporter::from_name(name)).unwrap_err();
        assert!(matches!(error, ReopenError::DmaBuf), "{name}");
    }
}

#[test]
fn reason_why_an_exporter_is_unknown_is_kept() {
    let error = BackingError::from(ExporterError::NotABuffer("a socket"));
    assert!(matches!(error, BackingError::NotMappable("a socket")));
    let error = BackingError::from(ExporterError::Unnamed);
    assert!(matches!(
        error,
        BackingError::Exporter(ExporterError::Unnamed)
    ));
}

#[test]
fn llvmpipe_opaque_fd_is_mapped_behind_its_header() {
    let backing = Backing::new(llvmpipe_fd(4096, 8192), ExportKind::Opaque, 8192).unwrap();
    assert_eq!(backing.kind(), BackingKind::MemfdWithHeader);
    assert_eq!(backing.data_offset(), 4096);
}

#[test]
fn llvmpipe_header_with_another_offset_is_refused() {
    for offset in [0, 64, 8192, u64::MAX] {
        let fd = llvmpipe_fd(offset, 4096);
        let error = Backing::new(fd, ExportKind::Opaque, 4096).unwrap_err();
        assert!(matches!(error, BackingError::NotMappable(_)), "{offset}");
    }
}

#[test]
fn opaque_fd_of_another_driver_is_refused() {
    let error = Backing::new(memfd("x", 8192), ExportKind::Opaque, 4096).unwrap_err();
    assert!(matches!(error, BackingError::NotMappable(_)));
}

#[test]
fn device_node_is_refused() {
    let fd = rustix::fs::open("/dev/null", OFlags::RDWR, Mode::empty()).unwrap();
    let error = Backing::new(fd, ExportKind::DmaBuf, 4096).unwrap_err();
    assert!(matches!(error, BackingError::NotMappable(_)));
}

#[test]
fn file_of_an_unknown_exporter_is_refused() {
    let (fd, _peer) = std::os::unix::net::UnixStream::pair().unwrap();
    let error = Backing::new(fd.into(), ExportKind::DmaBuf, 4096).unwrap_err();
    assert!(matches!(error, BackingError::NotMappable(_)));
}

#[test]
fn two_fds_of_one_file_have_one_identity() {
    let fd = memfd("a", 4096);
    let again = fd.try_clone().unwrap();
    assert_eq!(FileId::of(&fd).unwrap(), FileId::of(&again).unwrap());
    assert_ne!(
        FileId::of(&fd).unwrap(),
        FileId::of(memfd("a", 4096)).unwrap()
    );
}
