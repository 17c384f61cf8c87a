//! Memory of others that this process uses.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::os::fd::OwnedFd;
use std::sync::Arc;

use coherd_blob::Backing;
use coherd_blob::backing::ExportKind;
use coherd_protocol::memory::MemoryProperties;
use coherd_vulkan::Device;
use coherd_vulkan::memory::{
    AllocateError, AllocationRequest, ExportError, ExportNeed, HostMemory, ImportError,
    ImportRequest, MappedFile,
};
use common::{Checked, copy, finish, map, memfd, pattern, peek, poke, read, visible, write};

const LEN: usize = 65_536;
const SIZE: u64 = LEN as u64;

fn request(size: u64) -> ImportRequest<'static> {
    ImportRequest {
        name: "imported",
        size,
        ..ImportRequest::default()
    }
}

fn mapped(size: u64) -> MappedFile {
    MappedFile::of(&Backing::new(memfd(size), ExportKind::Shm, size).unwrap()).unwrap()
}

/// Whether memory of the host can be used; if not, the error has to say so.
fn takes_host_memory(device: &Device) -> bool {
    match device.import_host(Arc::new(mapped(SIZE)), &request(SIZE)) {
        Ok(_) => true,
        Err(ImportError::Refused | ImportError::Allocate(AllocateError::Unsupported(_))) => {
            println!("SKIPPED: the device takes no memory of the host");
            false
        }
        Err(error) => panic!("{error:?}"),
    }
}

/// A dma-buf of this device, or what its driver takes for one; `None` if it takes none.
fn dma_buf(device: &Device) -> Option<OwnedFd> {
    let exported = device.allocate(&AllocationRequest {
        name: "dma-buf",
        size: SIZE,
        required: MemoryProperties::HOST_VISIBLE,
        export: ExportNeed::DmaBuf,
        ..AllocationRequest::default()
    });
    match exported {
        Ok(memory) => Some(memory.export().unwrap().fd),
        // lavapipe takes every file that can be mapped.
        Err(AllocateError::Unsupported(_)) if device.adapter().name.contains("llvmpipe") => {
            Some(memfd(SIZE))
        }
        Err(AllocateError::Unsupported(reason)) => {
            println!("SKIPPED: the device cannot {reason}");
            None
        }
        Err(error) => panic!("{error:?}"),
    }
}

#[test]
fn imported_host_memory_is_the_same_memory() {
    let Some(device) = Checked::open() else {
        return;
    };
    if !takes_host_memory(&device) {
        return;
    }
    let host = Arc::new(mapped(SIZE));
    let bytes = pattern(LEN, 1);
    poke(&host, &bytes);

    let imported = device.import_host(host.clone(), &request(SIZE)).unwrap();
    let target = visible(&device, "target", SIZE, ExportNeed::None);
    imported.flush(0..SIZE).unwrap();
    copy(&device, &imported, &target, SIZE);
    finish(&device.fill(&imported, 0, SIZE, 0x3333_3333).unwrap());
    imported.invalidate(0..SIZE).unwrap();

    assert!(read(&target, LEN) == bytes);
    assert!(peek(&host, LEN).iter().all(|byte| *byte == 0x33));
}

#[test]
fn imported_host_memory_lives_as_long_as_its_allocation() {
    let Some(device) = Checked::open() else {
        return;
    };
    if !takes_host_memory(&device) {
        return;
    }
    let host = Arc::new(mapped(SIZE));
    let alive = Arc::downgrade(&host);
    let imported = device.import_host(host, &request(SIZE)).unwrap();
    let submission = device.fill(&imported, 0, SIZE, 0x2222_2222).unwrap();
    assert!(alive.upgrade().is_some());

    drop(imported);
    finish(&submission);

    assert!(alive.upgrade().is_none());
}

#[test]
fn imported_dma_buf_is_the_same_memory() {
    let Some(device) = Checked::open() else {
        return;
    };
    let Some(fd) = dma_buf(&device) else { return };
    let outside = map(
        coherd_vulkan::memory::Exported {
            fd: fd.try_clone().unwrap(),
            kind: ExportKind::DmaBuf,
        },
        SIZE,
    );
    let bytes = pattern(LEN, 2);
    poke(&outside, &bytes);

    let imported = device.import_dma_buf(fd, &request(SIZE)).unwrap();
    let target = visible(&device, "target", SIZE, ExportNeed::None);
    if imported
        .properties()
        .contains(MemoryProperties::HOST_VISIBLE)
    {
        imported.flush(0..SIZE).unwrap();
    }
    copy(&device, &imported, &target, SIZE);
    finish(&device.fill(&imported, 0, SIZE, 0x4444_4444).unwrap());
    if imported
        .properties()
        .contains(MemoryProperties::HOST_VISIBLE)
    {
        imported.invalidate(0..SIZE).unwrap();
    }

    assert!(read(&target, LEN) == bytes);
    assert!(peek(&outside, LEN).iter().all(|byte| *byte == 0x44));
}

#[test]
fn imported_memory_is_not_exported_again() {
    let Some(device) = Checked::open() else {
        return;
    };
    let Some(fd) = dma_buf(&device) else { return };
    let imported = device.import_dma_buf(fd, &request(SIZE)).unwrap();
    assert!(matches!(imported.export(), Err(ExportError::NotExportable)));
}

#[test]
fn files_that_are_no_memory_are_refused() {
    let Some(device) = Checked::open() else {
        return;
    };
    let (socket, _peer) = std::os::unix::net::UnixStream::pair().unwrap();
    let null = std::fs::File::open("/dev/null").unwrap();
    let program = std::fs::File::open(std::env::current_exe().unwrap()).unwrap();

    for fd in [socket.into(), null.into(), program.into()] {
        let error = device.import_dma_buf(fd, &request(SIZE)).unwrap_err();
        assert!(
            matches!(
                error,
                ImportError::Backing(_) | ImportError::Allocate(AllocateError::Unsupported(_))
            ),
            "{error:?}"
        );
    }
}

#[test]
fn file_that_is_too_small_is_refused() {
    let Some(device) = Checked::open() else {
        return;
    };
    let Some(fd) = dma_buf(&device) else { return };
    let error = device.import_dma_buf(fd, &request(SIZE + 1)).unwrap_err();
    // The file of the test layer's memory is longer, and the layer knows better.
    assert!(
        matches!(error, ImportError::Backing(_) | ImportError::Refused),
        "{error:?}"
    );
}

#[test]
fn impossible_sizes_are_refused() {
    let Some(device) = Checked::open() else {
        return;
    };
    let import = |size| {
        let host = Arc::new(mapped(SIZE));
        device.import_host(host, &request(size)).unwrap_err()
    };
    if !takes_host_memory(&device) {
        return;
    }
    assert!(matches!(
        import(0),
        ImportError::Allocate(AllocateError::Empty)
    ));
    assert!(matches!(
        import(u64::MAX),
        ImportError::Allocate(AllocateError::TooLarge { .. })
    ));
    assert!(matches!(
        import(SIZE + 1),
        ImportError::TooSmall {
            available: SIZE,
            ..
        }
    ));
}

/// A part of a mapping that starts in the middle of a page.
struct Crooked(MappedFile);

// SAFETY: the mapping has 16 bytes more.
unsafe impl HostMemory for Crooked {
    fn as_ptr(&self) -> *mut u8 {
        // SAFETY: as above.
        unsafe { self.0.as_ptr().add(16) }
    }

    fn len(&self) -> usize {
        self.0.len() - 16
    }
}

#[test]
fn host_memory_that_starts_within_a_page_is_refused() {
    let Some(device) = Checked::open() else {
        return;
    };
    if !takes_host_memory(&device) {
        return;
    }
    let crooked = Arc::new(Crooked(mapped(SIZE)));
    let error = device.import_host(crooked, &request(4096)).unwrap_err();
    assert!(matches!(error, ImportError::Misaligned { .. }), "{error:?}");
}

#[test]
fn without_the_extensions_nothing_is_imported() {
    let without = [
        "VK_EXT_external_memory_host",
        "VK_EXT_external_memory_dma_buf",
    ];
    let Some(device) = Checked::open_without(&without) else {
        return;
    };
    let host = device.import_host(Arc::new(mapped(SIZE)), &request(SIZE));
    let dma_buf = device.import_dma_buf(memfd(SIZE), &request(SIZE));
    for result in [host, dma_buf] {
        assert!(matches!(
            result,
            Err(ImportError::Allocate(AllocateError::Unsupported(_)))
        ));
    }
}

#[test]
fn properties_that_imports_cannot_have_are_refused() {
    let Some(device) = Checked::open() else {
        return;
    };
    if !takes_host_memory(&device) {
        return;
    }
    let required = MemoryProperties::from_bits_retain(1 << 20);
    let wish = ImportRequest {
        required,
        ..request(SIZE)
    };
    let error = device
        .import_host(Arc::new(mapped(SIZE)), &wish)
        .unwrap_err();
    assert!(matches!(
        error,
        ImportError::Allocate(AllocateError::NoMemoryType { required: r }) if r == required
    ));
}

#[test]
fn read_write_sharing_between_two_devices_of_one_driver() {
    let (Some(first), Some(second)) = (Checked::open(), Checked::open()) else {
        return;
    };
    let Some(fd) = dma_buf(&first) else { return };
    let one = first
        .import_dma_buf(fd.try_clone().unwrap(), &request(SIZE))
        .unwrap();
    let two = second.import_dma_buf(fd, &request(SIZE)).unwrap();
    let target = visible(&second, "target", SIZE, ExportNeed::None);
    write(&target, &[0; LEN]);

    finish(&first.fill(&one, 0, SIZE, 0x6666_6666).unwrap());
    copy(&second, &two, &target, SIZE);

    assert!(read(&target, LEN).iter().all(|byte| *byte == 0x66));
}

#[test]
fn everything_holds_with_incoherent_memory_and_its_dma_bufs() {
    common::layer::all_but("everything_holds_with_incoherent_memory_and_its_dma_bufs");
}
