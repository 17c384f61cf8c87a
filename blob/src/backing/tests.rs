//! Every file that is taken, and every refusal.

use super::*;
use rustix::fs::MemfdFlags;

fn memfd(name: &str, size: u64) -> OwnedFd {
    let fd = rustix::fs::memfd_create(name, MemfdFlags::ALLOW_SEALING).unwrap();
    rustix::fs::ftruncate(&fd, size).unwrap();
    fd
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
    let fd = memfd("ring", 4096);
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd));
    let read_only = rustix::fs::open(path, OFlags::RDONLY, rustix::fs::Mode::empty()).unwrap();
    let error = Backing::new(read_only, ExportKind::Shm, 4096).unwrap_err();
    assert!(matches!(error, BackingError::NotReadWrite));
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
    let fd = rustix::fs::open("/dev/null", OFlags::RDWR, rustix::fs::Mode::empty()).unwrap();
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
