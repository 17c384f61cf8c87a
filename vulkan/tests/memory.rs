//! Memory by property, through the eyes of CPU and GPU.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use coherd_protocol::blob_context::command::BufferUsage;
use coherd_protocol::memory::MemoryProperties;
use coherd_vulkan::memory::{AccessError, AllocateError, AllocationRequest, ExportNeed};
use common::{Checked, copy, of_type, pattern, read, visible, write};

#[test]
fn every_type_is_allocated_by_its_properties_and_copied_by_the_gpu() {
    let Some(device) = Checked::open() else {
        return;
    };
    let size = 100_000;
    let bytes = pattern(size, 1);
    let source = visible(&device, "source", size as u64, ExportNeed::None);
    let target = visible(&device, "target", size as u64, ExportNeed::None);
    write(&source, &bytes);

    for ty in device.memory_types() {
        let memory = device
            .allocate(&of_type("each type", ty, size as u64))
            .unwrap();
        write(&target, &vec![0; size]);
        copy(&device, &source, &memory, size as u64);
        copy(&device, &memory, &target, size as u64);

        assert_eq!(memory.properties(), ty.properties);
        assert_eq!(memory.size(), size as u64);
        assert!(read(&target, size) == bytes, "{ty:?}");
    }
}

#[test]
fn every_visible_type_is_written_and_read_by_the_cpu() {
    let Some(device) = Checked::open() else {
        return;
    };
    let size = 12_345;
    let bytes = pattern(size, 2);
    let visible_types = device
        .memory_types()
        .iter()
        .filter(|ty| ty.properties.contains(MemoryProperties::HOST_VISIBLE));

    for ty in visible_types {
        let first = device.allocate(&of_type("first", ty, size as u64)).unwrap();
        let second = device
            .allocate(&of_type("second", ty, size as u64))
            .unwrap();
        write(&first, &bytes);
        copy(&device, &first, &second, size as u64);

        assert!(read(&second, size) == bytes, "{ty:?}");
    }
}

#[test]
fn memory_is_mapped_once() {
    let Some(device) = Checked::open() else {
        return;
    };
    let memory = visible(&device, "mapped", 4096, ExportNeed::None);

    let first = memory.map().unwrap().as_ptr();
    let again = memory.clone().map().unwrap().as_ptr();

    assert_eq!(first, again);
    assert_eq!(memory.map().unwrap().len(), 4096);
}

#[test]
fn threads_that_map_at_once_get_one_mapping() {
    let Some(device) = Checked::open() else {
        return;
    };
    let memory = visible(&device, "mapped", 4096, ExportNeed::None);

    let places: Vec<usize> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| memory.map().unwrap().as_ptr() as usize))
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });

    assert!(places.iter().all(|place| *place == places[0]));
}

#[test]
fn odd_ranges_are_flushed_and_invalidated() {
    let Some(device) = Checked::open() else {
        return;
    };

    for ty in device.memory_types() {
        if !ty.properties.contains(MemoryProperties::HOST_VISIBLE) {
            continue;
        }
        // No multiple of any atom.
        let memory = device.allocate(&of_type("odd", ty, 1001)).unwrap();
        for range in [0..1, 1..2, 63..65, 999..1001, 1000..1001, 0..1001, 7..7] {
            memory.flush(range.clone()).unwrap();
            memory.invalidate(range).unwrap();
        }
    }
}

#[test]
#[expect(clippy::reversed_empty_ranges, reason = "a caller's mistake")]
fn ranges_outside_are_refused() {
    let Some(device) = Checked::open() else {
        return;
    };
    let memory = visible(&device, "small", 1000, ExportNeed::None);

    for range in [0..1001, 1001..1001, 5..3, u64::MAX - 1..u64::MAX] {
        let error = AccessError::OutOfRange {
            start: range.start,
            end: range.end,
            size: 1000,
        };
        assert_eq!(memory.flush(range.clone()), Err(error));
        assert_eq!(memory.invalidate(range), Err(error));
    }
}

#[test]
fn memory_the_cpu_cannot_see_is_not_mapped() {
    let Some(device) = Checked::open() else {
        return;
    };
    let hidden = device
        .memory_types()
        .iter()
        .find(|ty| !ty.properties.contains(MemoryProperties::HOST_VISIBLE));
    let Some(hidden) = hidden else {
        println!("SKIPPED: every memory type of this device is host visible");
        return;
    };
    let memory = device.allocate(&of_type("hidden", hidden, 4096)).unwrap();

    assert!(matches!(memory.map(), Err(AccessError::NotHostVisible)));
    assert_eq!(memory.flush(0..1), Err(AccessError::NotHostVisible));
    assert_eq!(memory.invalidate(0..1), Err(AccessError::NotHostVisible));
}

#[test]
fn every_usage_can_be_asked_for() {
    let Some(device) = Checked::open() else {
        return;
    };
    let memory = device
        .allocate(&AllocationRequest {
            name: "used\0for everything",
            size: 4096,
            usage: BufferUsage::all(),
            ..AllocationRequest::default()
        })
        .unwrap();
    assert_eq!(memory.name(), "used\0for everything");
}

#[test]
fn impossible_sizes_are_refused() {
    let Some(device) = Checked::open() else {
        return;
    };
    let ask = |size| {
        device.allocate(&AllocationRequest {
            name: "impossible",
            size,
            ..AllocationRequest::default()
        })
    };

    assert!(matches!(ask(0), Err(AllocateError::Empty)));
    for size in [device.max_allocation_size() + 1, u64::MAX, u64::MAX - 4096] {
        let error = ask(size).unwrap_err();
        assert!(
            matches!(error, AllocateError::TooLarge { size: s, .. } if s == size),
            "{error:?}"
        );
    }
}

#[test]
fn properties_that_no_type_has_are_refused() {
    let Some(device) = Checked::open() else {
        return;
    };
    let all = MemoryProperties::all();
    let types = device.memory_types();
    // Bits of later versions of Vulkan are no properties of a type either.
    let impossible = if types.iter().any(|ty| ty.properties == all) {
        MemoryProperties::from_bits_retain(1 << 20)
    } else {
        all
    };

    let error = device
        .allocate(&AllocationRequest {
            name: "impossible",
            size: 4096,
            required: impossible,
            ..AllocationRequest::default()
        })
        .unwrap_err();

    assert_eq!(
        error,
        AllocateError::NoMemoryType {
            required: impossible
        }
    );
}

#[test]
fn heaps_count_what_is_allocated_and_freed() {
    // What a driver counts may be all of the system's memory, and lag behind.
    for (without, exact) in [(&[][..], false), (&["VK_EXT_memory_budget"][..], true)] {
        let Some(device) = Checked::open_without(without) else {
            return;
        };
        let used = || -> u64 { device.heaps().iter().map(|heap| heap.used).sum() };

        let before = used();
        let memory = visible(&device, "counted", 64 << 20, ExportNeed::None);
        write(&memory, &pattern(64 << 20, 3));
        let during = used();
        drop(memory);
        let after = used();

        assert!(during >= 64 << 20, "{during}");
        if exact {
            assert_eq!((before, after), (0, 0));
            assert!(during < 65 << 20, "{during}");
        }
    }
}

#[test]
fn budget_is_respected_with_and_without_the_drivers_help() {
    for without in [&[][..], &["VK_EXT_memory_budget"][..]] {
        let Some(device) = Checked::open_without(without) else {
            return;
        };
        let heap = device.heaps()[0];
        let step = device.max_allocation_size().min(1 << 30);
        // Nothing is written to it, so a driver that allocates lazily has no cost.
        let mut all = Vec::new();
        let error = loop {
            let request = AllocationRequest {
                name: "too much",
                size: step,
                required: device.memory_types()[0].properties,
                ..AllocationRequest::default()
            };
            match device.allocate(&request) {
                Ok(memory) => all.push(memory),
                Err(error) => break error,
            }
            assert!(all.len() as u64 <= heap.size / step, "no budget at all");
        };

        let AllocateError::OverBudget { size, available } = error else {
            panic!("{error:?}");
        };
        assert_eq!(size, step);
        assert!(available < step);
        all.clear();
        visible(&device, "fits again", 4096, ExportNeed::None);
    }
}

#[test]
fn everything_holds_with_incoherent_memory_and_its_dma_bufs() {
    common::layer::all_but("everything_holds_with_incoherent_memory_and_its_dma_bufs");
}
