//! Memory that is not coherent: right with flush and invalidate, stale without. Either would be
//! seen by no driver on the CPU, so all of this is under the test layer.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use coherd_blob::Backing;
use coherd_blob::backing::ExportKind;
use coherd_protocol::memory::MemoryProperties;
use coherd_vulkan::Device;
use coherd_vulkan::memory::{
    Allocation, AllocationRequest, ExportNeed, ImportRequest, MappedFile, MemoryTypeInfo,
};
use common::layer::{controls, isolated};
use common::{Checked, copy, finish, map, memfd, of_type, pattern, peek, poke, visible};
use std::sync::Arc;

const LEN: usize = 20_000;
const SIZE: u64 = LEN as u64;

/// The layer's type that needs flush and invalidate.
fn incoherent_type(device: &Device) -> MemoryTypeInfo {
    *device
        .memory_types()
        .iter()
        .find(|ty| is_incoherent(ty.properties))
        .unwrap()
}

fn is_incoherent(properties: MemoryProperties) -> bool {
    properties.contains(MemoryProperties::HOST_VISIBLE)
        && !properties.contains(MemoryProperties::HOST_COHERENT)
}

/// Memory whose CPU's and GPU's sides both are zero.
fn incoherent(device: &Device, export: ExportNeed) -> Allocation {
    let ty = incoherent_type(device);
    let memory = device
        .allocate(&AllocationRequest {
            export,
            ..of_type("incoherent", &ty, SIZE)
        })
        .unwrap();
    assert!(is_incoherent(memory.properties()));
    finish(&device.fill(&memory, 0, SIZE, 0).unwrap());
    memory.map().unwrap().write(0, &[0; LEN]).unwrap();
    memory.flush(0..SIZE).unwrap();
    memory
}

/// What the GPU sees of `memory`.
fn seen_by_gpu(device: &Device, memory: &Allocation) -> Vec<u8> {
    let target = visible(device, "seen", SIZE, ExportNeed::None);
    assert!(!is_incoherent(target.properties()));
    copy(device, memory, &target, SIZE);
    let mut bytes = vec![0; LEN];
    target.map().unwrap().read(0, &mut bytes).unwrap();
    bytes
}

fn seen_by_cpu(memory: &Allocation) -> Vec<u8> {
    let mut bytes = vec![0; LEN];
    memory.map().unwrap().read(0, &mut bytes).unwrap();
    bytes
}

#[test]
fn gpu_sees_what_the_cpu_wrote_after_a_flush_and_not_before() {
    isolated(
        "gpu_sees_what_the_cpu_wrote_after_a_flush_and_not_before",
        || {
            let Some(device) = Checked::open() else {
                return;
            };
            let memory = incoherent(&device, ExportNeed::None);
            let bytes = pattern(LEN, 1);
            memory.map().unwrap().write(0, &bytes).unwrap();

            let before = seen_by_gpu(&device, &memory);
            memory.flush(0..SIZE).unwrap();
            let after = seen_by_gpu(&device, &memory);

            assert!(before.iter().all(|byte| *byte == 0));
            assert!(after == bytes);
        },
    );
}

#[test]
fn cpu_sees_what_the_gpu_wrote_after_an_invalidation_and_not_before() {
    isolated(
        "cpu_sees_what_the_gpu_wrote_after_an_invalidation_and_not_before",
        || {
            let Some(device) = Checked::open() else {
                return;
            };
            let memory = incoherent(&device, ExportNeed::None);
            finish(&device.fill(&memory, 0, SIZE, 0x5a5a_5a5a).unwrap());

            let before = seen_by_cpu(&memory);
            memory.invalidate(0..SIZE).unwrap();
            let after = seen_by_cpu(&memory);

            assert!(before.iter().all(|byte| *byte == 0));
            assert!(after.iter().all(|byte| *byte == 0x5a));
        },
    );
}

#[test]
fn flush_covers_its_range_in_whole_atoms_and_no_more() {
    isolated("flush_covers_its_range_in_whole_atoms_and_no_more", || {
        let Some(device) = Checked::open() else {
            return;
        };
        let atom = usize::try_from(device.atom_size()).unwrap();
        assert!(atom >= 256);
        let memory = incoherent(&device, ExportNeed::None);
        memory.map().unwrap().write(0, &[9; LEN]).unwrap();
        let start = 2 * atom;

        memory.flush(start as u64 + 3..start as u64 + 5).unwrap();
        let seen = seen_by_gpu(&device, &memory);

        assert!(seen[start..start + atom].iter().all(|byte| *byte == 9));
        assert!(seen[..start].iter().all(|byte| *byte == 0));
        assert!(seen[start + atom..].iter().all(|byte| *byte == 0));
    });
}

#[test]
fn flush_reaches_the_last_byte_of_an_odd_size() {
    isolated("flush_reaches_the_last_byte_of_an_odd_size", || {
        let Some(device) = Checked::open() else {
            return;
        };
        let memory = incoherent(&device, ExportNeed::None);
        memory.map().unwrap().write(SIZE - 1, &[7]).unwrap();

        memory.flush(SIZE - 1..SIZE).unwrap();

        assert_eq!(seen_by_gpu(&device, &memory)[LEN - 1], 7);
    });
}

#[test]
fn another_process_sees_exported_memory_as_this_one_does() {
    isolated(
        "another_process_sees_exported_memory_as_this_one_does",
        || {
            let Some(device) = Checked::open() else {
                return;
            };
            let memory = incoherent(&device, ExportNeed::DmaBuf);
            let outside = map(memory.export().unwrap(), SIZE);
            let bytes = pattern(LEN, 3);

            // From outside to the GPU, by a flush in this process.
            poke(&outside, &bytes);
            let before_flush = seen_by_gpu(&device, &memory);
            memory.flush(0..SIZE).unwrap();
            let after_flush = seen_by_gpu(&device, &memory);
            // From the GPU to outside, by an invalidation in this process.
            finish(&device.fill(&memory, 0, SIZE, 0x7b7b_7b7b).unwrap());
            let before_invalidation = peek(&outside, LEN);
            memory.invalidate(0..SIZE).unwrap();
            let after_invalidation = peek(&outside, LEN);

            assert!(before_flush.iter().all(|byte| *byte == 0));
            assert!(after_flush == bytes);
            assert!(before_invalidation == bytes);
            assert!(after_invalidation.iter().all(|byte| *byte == 0x7b));
        },
    );
}

#[test]
fn imported_host_memory_of_this_type_needs_them_too() {
    isolated("imported_host_memory_of_this_type_needs_them_too", || {
        let Some(device) = Checked::open() else {
            return;
        };
        let size = 32_768;
        let backing = Backing::new(memfd(size), ExportKind::Shm, size).unwrap();
        let host = Arc::new(MappedFile::of(&backing).unwrap());
        let request = ImportRequest {
            name: "imported",
            size,
            required: incoherent_type(&device).properties,
            ..ImportRequest::default()
        };
        let imported = device.import_host(host.clone(), &request).unwrap();
        if !is_incoherent(imported.properties()) {
            println!("SKIPPED: the layer imports no incoherent memory of the host");
            return;
        }
        let bytes = pattern(LEN, 4);
        finish(&device.fill(&imported, 0, size, 0).unwrap());

        poke(&host, &bytes);
        let before = seen_by_gpu(&device, &imported);
        imported.flush(0..SIZE).unwrap();
        let after = seen_by_gpu(&device, &imported);

        assert!(before.iter().all(|byte| *byte == 0));
        assert!(after == bytes);
    });
}

#[test]
fn coherent_memory_is_flushed_without_a_call() {
    isolated("coherent_memory_is_flushed_without_a_call", || {
        let Some(device) = Checked::open() else {
            return;
        };
        let controls = controls();
        let coherent = visible(&device, "coherent", SIZE, ExportNeed::None);
        let incoherent = incoherent(&device, ExportNeed::None);
        let calls = || (controls.flushes(), controls.invalidates());

        let before = calls();
        coherent.flush(0..SIZE).unwrap();
        coherent.invalidate(0..SIZE).unwrap();
        let for_coherent = calls();
        incoherent.flush(0..SIZE).unwrap();
        incoherent.invalidate(0..SIZE).unwrap();
        let for_incoherent = calls();

        assert_eq!(for_coherent, before);
        assert_eq!(for_incoherent, (before.0 + 1, before.1 + 1));
    });
}

#[test]
fn properties_that_are_not_asked_for_are_not_given() {
    isolated("properties_that_are_not_asked_for_are_not_given", || {
        let Some(device) = Checked::open() else {
            return;
        };
        let visible = MemoryProperties::HOST_VISIBLE;
        let cached = MemoryProperties::HOST_CACHED;
        let coherent = MemoryProperties::HOST_COHERENT;
        let ask = |required, preferred| {
            device
                .allocate(&AllocationRequest {
                    name: "exact",
                    size: SIZE,
                    required,
                    preferred,
                    export: ExportNeed::Mappable,
                    ..AllocationRequest::default()
                })
                .unwrap()
                .properties()
                .difference(MemoryProperties::DEVICE_LOCAL)
        };
        let none = MemoryProperties::empty();

        assert_eq!(ask(visible | cached, none), visible | cached);
        assert_eq!(ask(visible | coherent, none), visible | coherent);
        assert_eq!(ask(visible | cached, coherent), visible | cached | coherent);
        assert_eq!(ask(visible, cached | coherent), visible | cached | coherent);
    });
}
