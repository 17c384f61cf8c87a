//! Memory that other processes see.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use coherd_blob::backing::ExportKind;
use coherd_protocol::memory::MemoryProperties;
use coherd_vulkan::memory::{
    AllocateError, Allocation, AllocationRequest, ExportError, ExportNeed,
};
use coherd_vulkan::{AdapterKind, Device};
use common::{Checked, copy, map, of_type, pattern, peek, poke, read, visible, write};

const LEN: usize = 70_000;
const SIZE: u64 = LEN as u64;

/// The extensions that decide how memory is exported.
const WAYS: [&[&str]; 3] = [
    &[],
    &["VK_EXT_external_memory_dma_buf"],
    &["VK_KHR_external_memory_fd"],
];

/// Exportable memory of each type that can be.
fn exportable(device: &Device, size: u64) -> Vec<(ExportKind, Allocation)> {
    device
        .memory_types()
        .iter()
        .filter(|ty| ty.properties.contains(MemoryProperties::HOST_VISIBLE))
        .filter_map(|ty| {
            let request = AllocationRequest {
                export: ExportNeed::Mappable,
                ..of_type("exported", ty, size)
            };
            let memory = device.allocate(&request).unwrap();
            Some((ty.export?, memory))
        })
        .collect()
}

#[test]
fn what_the_gpu_writes_is_in_the_exported_file() {
    for without in WAYS {
        let Some(device) = Checked::open_without(without) else {
            return;
        };
        let bytes = pattern(LEN, 1);
        let source = visible(&device, "source", SIZE, ExportNeed::None);
        write(&source, &bytes);

        for (kind, memory) in exportable(&device, SIZE) {
            copy(&device, &source, &memory, SIZE);
            memory.invalidate(0..SIZE).unwrap();

            let exported = memory.export().unwrap();
            assert_eq!(exported.kind, kind);
            let outside = map(exported, SIZE);
            assert!(peek(&outside, LEN) == bytes, "{kind:?}");
        }
    }
}

#[test]
fn what_is_written_to_the_exported_file_is_seen_by_the_gpu() {
    for without in WAYS {
        let Some(device) = Checked::open_without(without) else {
            return;
        };
        let bytes = pattern(LEN, 2);
        let target = visible(&device, "target", SIZE, ExportNeed::None);

        for (kind, memory) in exportable(&device, SIZE) {
            let outside = map(memory.export().unwrap(), SIZE);
            poke(&outside, &bytes);
            memory.flush(0..SIZE).unwrap();
            copy(&device, &memory, &target, SIZE);

            assert!(read(&target, LEN) == bytes, "{kind:?}");
        }
    }
}

#[test]
fn exported_file_outlives_the_device() {
    for without in WAYS {
        let Some(device) = Checked::open_without(without) else {
            return;
        };
        let bytes = pattern(LEN, 3);
        let files: Vec<_> = exportable(&device, SIZE)
            .into_iter()
            .map(|(_, memory)| {
                write(&memory, &bytes);
                map(memory.export().unwrap(), SIZE)
            })
            .collect();
        drop(device);
        for file in files {
            assert!(peek(&file, LEN) == bytes);
        }
    }
}

#[test]
fn each_export_is_the_same_memory() {
    for without in WAYS {
        let Some(device) = Checked::open_without(without) else {
            return;
        };
        for (_, memory) in exportable(&device, SIZE) {
            let first = map(memory.export().unwrap(), SIZE);
            let second = map(memory.export().unwrap(), SIZE);
            poke(&first, b"the same");
            assert_eq!(peek(&second, 8), b"the same");
        }
    }
}

#[test]
fn ways_of_export_are_told_and_kept() {
    for without in WAYS {
        let Some(device) = Checked::open_without(without) else {
            return;
        };
        let allowed: &[ExportKind] = match without {
            ["VK_KHR_external_memory_fd"] => &[ExportKind::Shm],
            ["VK_EXT_external_memory_dma_buf"] => &[ExportKind::Opaque, ExportKind::Shm],
            _ => &[ExportKind::DmaBuf, ExportKind::Opaque, ExportKind::Shm],
        };
        for ty in device.memory_types() {
            assert!(ty.export.is_none_or(|kind| allowed.contains(&kind)));
        }
        if device.adapter().kind == AdapterKind::Software {
            let exported = exportable(&device, SIZE);
            assert!(!exported.is_empty(), "nothing can be exported: {without:?}");
            assert!(exported.iter().all(|(_, memory)| memory.is_exportable()));
        }
    }
}

#[test]
fn memory_allocated_for_one_process_is_not_exported() {
    let Some(device) = Checked::open() else {
        return;
    };
    let memory = visible(&device, "private", SIZE, ExportNeed::None);
    assert!(!memory.is_exportable());
    assert!(matches!(memory.export(), Err(ExportError::NotExportable)));
}

#[test]
fn dma_buf_is_refused_where_there_is_none_and_never_something_else() {
    let Some(device) = Checked::open_without(&["VK_EXT_external_memory_dma_buf"]) else {
        return;
    };
    let error = device
        .allocate(&AllocationRequest {
            name: "no dma-buf",
            size: SIZE,
            required: MemoryProperties::HOST_VISIBLE,
            export: ExportNeed::DmaBuf,
            ..AllocationRequest::default()
        })
        .unwrap_err();
    assert!(matches!(error, AllocateError::Unsupported(_)), "{error:?}");
}

#[test]
fn nothing_is_left_open_by_exports() {
    let Some(device) = Checked::open() else {
        return;
    };
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    // Whatever drivers open once.
    drop(exportable(&device, SIZE));

    // Other tests of this program open files too: in a moment without them, the number is that
    // of before.
    let before = open();
    let deadline = std::time::Instant::now() + common::DEADLINE;
    loop {
        for (_, memory) in exportable(&device, SIZE) {
            map(memory.export().unwrap(), SIZE);
        }
        if open() <= before {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "files leak");
    }
}

#[test]
fn everything_holds_with_incoherent_memory_and_its_dma_bufs() {
    common::layer::all_but("everything_holds_with_incoherent_memory_and_its_dma_bufs");
}
