//! Every Vulkan call in turn fails: a clear error each time, and nothing is left behind. The
//! faults are those of the test layer.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::error::Error;
use std::fmt::Write as _;
use std::sync::Arc;

use VkLayer_coherd_incoherent::control::Controls;
use ash::vk;
use coherd_blob::Backing;
use coherd_blob::backing::ExportKind;
use coherd_protocol::memory::MemoryProperties;
use coherd_vulkan::image::ImageRequest;
use coherd_vulkan::memory::{Allocation, AllocationRequest, ExportNeed, ImportRequest, MappedFile};
use coherd_vulkan::{Device, DeviceError, Options, Selector};
use common::layer::{controls, isolated, names};
use common::{DEADLINE, memfd, of_type, skip};

const SIZE: u64 = 10_000;

type Outcome = Result<(), Box<dyn Error>>;

const LOSS: vk::Result = vk::Result::ERROR_DEVICE_LOST;
const FAULTS: [vk::Result; 3] = [
    LOSS,
    vk::Result::ERROR_OUT_OF_DEVICE_MEMORY,
    vk::Result::ERROR_OUT_OF_HOST_MEMORY,
];

/// All that an allocator does, each kind of thing once.
fn scenario(without: &[&str]) -> Outcome {
    let device = Device::open(&Selector::Any, &options(without))?;
    let target = device.allocate(&AllocationRequest {
        name: "target",
        size: SIZE,
        ..AllocationRequest::default()
    })?;
    for ty in device.memory_types() {
        let memory = device.allocate(&AllocationRequest {
            export: ExportNeed::IfPossible,
            ..of_type("each type", ty, SIZE)
        })?;
        if ty.properties.contains(MemoryProperties::HOST_VISIBLE) {
            access(&memory)?;
        }
        if memory.is_exportable() {
            let exported = memory.export()?;
            if exported.kind == ExportKind::DmaBuf {
                import_file(&device, exported.fd)?;
            }
        }
        device.copy(&memory, 1, &target, 2, 100)?.wait(DEADLINE)?;
    }
    if !without.contains(&"VK_EXT_external_memory_host") {
        import_memory(&device)?;
    }
    if !device.formats().is_empty() {
        image(&device)?;
    }
    transfers(&device, target)
}

fn options(without: &[&str]) -> Options {
    Options {
        layers: names().into_iter().collect(),
        without_extensions: without.iter().map(|name| (*name).into()).collect(),
        ..Options::default()
    }
}

fn access(memory: &Allocation) -> Outcome {
    memory.map()?.write(0, &[1; 100])?;
    memory.flush(3..50)?;
    memory.invalidate(3..50)?;
    Ok(())
}

fn import_file(device: &Device, fd: std::os::fd::OwnedFd) -> Outcome {
    device.import_dma_buf(
        fd,
        &ImportRequest {
            name: "imported",
            size: SIZE,
            ..ImportRequest::default()
        },
    )?;
    Ok(())
}

fn import_memory(device: &Device) -> Outcome {
    let backing = Backing::new(memfd(16_384), ExportKind::Shm, 16_384)?;
    device.import_host(
        Arc::new(MappedFile::of(&backing)?),
        &ImportRequest {
            name: "imported",
            size: SIZE,
            ..ImportRequest::default()
        },
    )?;
    Ok(())
}

fn image(device: &Device) -> Outcome {
    for export in [ExportNeed::None, ExportNeed::IfPossible] {
        let image = device.create_image(&ImageRequest {
            name: "image",
            width: 33,
            height: 17,
            fourcc: u32::from_le_bytes(*b"XR24"),
            modifiers: &[0],
            required: MemoryProperties::HOST_VISIBLE,
            export,
            ..ImageRequest::default()
        })?;
        access(image.allocation())?;
    }
    Ok(())
}

fn transfers(device: &Device, target: Allocation) -> Outcome {
    device.heaps();
    let first = device.fill(&target, 0, SIZE, 1)?;
    let second = device.fill(&target, 4, 8, 2)?;
    match second.sync_file() {
        Ok(_) | Err(coherd_vulkan::transfer::SyncFileError::Unsupported) => {}
        Err(error) => return Err(error.into()),
    }
    second.is_done()?;
    second.wait(DEADLINE)?;
    first.wait(DEADLINE)?;
    // In flight when everything is dropped.
    device.fill(&target, 0, SIZE, 3)?;
    drop(target);
    Ok(())
}

/// Where a failure need not be the caller's business: what was asked for was had nevertheless.
fn is_harmless(command: &str, result: vk::Result) -> bool {
    match command {
        // Looks whether memory can be let go of, and waits before it is: either comes again.
        "vkGetSemaphoreCounterValue" | "vkGetFenceStatus" | "vkDeviceWaitIdle" => true,
        // Another memory type had memory.
        "vkCreateBuffer"
        | "vkGetMemoryHostPointerPropertiesEXT"
        | "vkAllocateMemory"
        | "vkBindBufferMemory" => result == vk::Result::ERROR_OUT_OF_DEVICE_MEMORY,
        _ => false,
    }
}

fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        write!(text, ": {error}").unwrap();
        next = error.source();
    }
    text
}

fn meaning(result: vk::Result) -> String {
    let error = match result {
        LOSS => DeviceError::Lost,
        vk::Result::ERROR_OUT_OF_DEVICE_MEMORY => DeviceError::OutOfDeviceMemory,
        _ => DeviceError::OutOfHostMemory,
    };
    error.to_string()
}

/// Files, and mappings of shared memory, of this process.
fn holdings() -> (usize, usize) {
    let files = std::fs::read_dir("/proc/self/fd").unwrap().count();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let memfds = maps.lines().filter(|line| line.contains("/memfd:")).count();
    (files, memfds)
}

/// Runs the scenario again and again until a fault would come after its end. Returns how often it
/// failed.
fn every_call_in_turn(controls: &Controls, without: &[&str], result: vk::Result) -> u32 {
    let before = holdings();
    let mut failed = 0;
    for nth in 1.. {
        controls.arm(nth, result);
        let outcome = scenario(without);
        let fired = controls.fired();
        controls.arm(0, result);

        let Some(command) = fired else {
            outcome.unwrap();
            break;
        };
        match outcome {
            Err(error) => {
                failed += 1;
                let text = chain(&*error);
                assert!(text.contains(&meaning(result)), "{command} {nth}: {text}");
            }
            Ok(()) => assert!(is_harmless(&command, result), "{command} {nth}: no error"),
        }
        let left = controls.describe_live();
        assert_eq!(controls.live_objects(), 0, "{command} {nth}: {left}");
        assert_eq!(holdings(), before, "{command} {nth}");
    }
    failed
}

fn faults(without: &[&str]) {
    let controls = controls();
    // Drivers and loader keep what they open once.
    if let Err(error) = scenario(without) {
        return skip(&chain(&*error));
    }
    for result in FAULTS {
        let failed = every_call_in_turn(&controls, without, result);
        assert!(failed > 60, "{failed} calls");
    }
}

#[test]
fn every_call_in_turn_fails() {
    isolated("every_call_in_turn_fails", || faults(&[]));
}

#[test]
fn every_call_in_turn_fails_without_timelines() {
    isolated("every_call_in_turn_fails_without_timelines", || {
        faults(&["VK_KHR_timeline_semaphore"]);
    });
}

#[test]
fn every_call_in_turn_fails_without_dma_bufs() {
    isolated("every_call_in_turn_fails_without_dma_bufs", || {
        faults(&["VK_KHR_external_memory_fd"]);
    });
}

#[test]
fn every_call_in_turn_fails_without_memory_of_the_host() {
    isolated(
        "every_call_in_turn_fails_without_memory_of_the_host",
        || {
            faults(&["VK_EXT_external_memory_host", "VK_EXT_memory_budget"]);
        },
    );
}

#[test]
fn lost_device_answers_at_once_and_is_dropped_in_peace() {
    isolated(
        "lost_device_answers_at_once_and_is_dropped_in_peace",
        || {
            let controls = controls();
            let device = match Device::open(&Selector::Any, &options(&[])) {
                Ok(device) => device,
                Err(error) => return skip(&chain(&error)),
            };
            let request = AllocationRequest {
                name: "survivor",
                size: SIZE,
                required: MemoryProperties::HOST_VISIBLE,
                export: ExportNeed::IfPossible,
                ..AllocationRequest::default()
            };
            let memory = device.allocate(&request).unwrap();
            let in_flight = device.fill(&memory, 0, SIZE, 1).unwrap();
            controls.arm_command(c"vkQueueSubmit", 1, LOSS);
            let lost = device.fill(&memory, 0, SIZE, 2).unwrap_err();
            controls.arm(0, LOSS);

            assert_eq!(lost.to_string(), meaning(LOSS));
            assert!(device.lost());
            let texts = [
                device.allocate(&request).unwrap_err().to_string(),
                memory.map().unwrap_err().to_string(),
                memory.flush(0..1).unwrap_err().to_string(),
                memory.invalidate(0..1).unwrap_err().to_string(),
                memory.export().unwrap_err().to_string(),
                device.fill(&memory, 0, 4, 0).unwrap_err().to_string(),
                in_flight.wait(DEADLINE).unwrap_err().to_string(),
                in_flight.is_done().unwrap_err().to_string(),
            ];
            assert!(texts.iter().all(|text| *text == meaning(LOSS)), "{texts:?}");
            // None of that reached the driver.
            assert_eq!(controls.calls(), 0);

            drop((memory, in_flight, device));
            assert_eq!(controls.live_objects(), 0, "{}", controls.describe_live());
        },
    );
}

#[test]
fn another_device_works_after_a_loss() {
    isolated("another_device_works_after_a_loss", || {
        let controls = controls();
        let open = || Device::open(&Selector::Any, &options(&[]));
        let device = match open() {
            Ok(device) => device,
            Err(error) => return skip(&chain(&error)),
        };
        let ask = |device: &Device| {
            device.allocate(&AllocationRequest {
                name: "after",
                size: SIZE,
                ..AllocationRequest::default()
            })
        };
        controls.arm(1, LOSS);
        ask(&device).unwrap_err();
        controls.arm(0, LOSS);

        let other = open().unwrap();

        assert!(device.lost());
        assert!(!other.lost());
        ask(&other).unwrap();
    });
}

#[test]
fn memory_of_another_type_is_taken_if_one_is_used_up() {
    isolated("memory_of_another_type_is_taken_if_one_is_used_up", || {
        let controls = controls();
        let device = match Device::open(&Selector::Any, &options(&[])) {
            Ok(device) => device,
            Err(error) => return skip(&chain(&error)),
        };
        let request = AllocationRequest {
            name: "fallback",
            size: SIZE,
            required: MemoryProperties::HOST_VISIBLE,
            ..AllocationRequest::default()
        };
        let best = device.allocate(&request).unwrap();

        let device_memory = vk::Result::ERROR_OUT_OF_DEVICE_MEMORY;
        controls.arm_command(c"vkAllocateMemory", 1, device_memory);
        let second = device.allocate(&request).unwrap();

        assert_eq!(controls.fired().as_deref(), Some("vkAllocateMemory"));
        assert_ne!(second.memory_type_index(), best.memory_type_index());
        assert!(second.properties().contains(MemoryProperties::HOST_VISIBLE));
    });
}
