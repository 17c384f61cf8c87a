//! Copies and fills by the GPU.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::time::Duration;

use coherd_vulkan::memory::ExportNeed;
use coherd_vulkan::transfer::{SyncFileError, TransferError, WaitError};
use common::{Checked, DEADLINE, finish, pattern, read, visible, write};

/// The extensions that decide how the end of a transfer is known.
const WAYS: [&[&str]; 2] = [&[], &["VK_KHR_timeline_semaphore"]];

#[test]
fn fill_writes_its_range_and_nothing_else() {
    let Some(device) = Checked::open() else {
        return;
    };
    let memory = visible(&device, "filled", 4096, ExportNeed::None);
    write(&memory, &[7; 4096]);

    finish(&device.fill(&memory, 8, 1000, 0x0403_0201).unwrap());

    let bytes = read(&memory, 4096);
    assert_eq!(bytes[..8], [7; 8]);
    assert!(bytes[8..1008].chunks(4).all(|word| word == [1, 2, 3, 4]));
    assert!(bytes[1008..].iter().all(|byte| *byte == 7));
}

#[test]
fn copy_goes_from_any_byte_to_any_byte() {
    let Some(device) = Checked::open() else {
        return;
    };
    let source = visible(&device, "source", 4096, ExportNeed::None);
    let target = visible(&device, "target", 4096, ExportNeed::None);
    let bytes = pattern(4096, 1);
    write(&source, &bytes);
    write(&target, &[0; 4096]);

    finish(&device.copy(&source, 3, &target, 1001, 77).unwrap());

    let copied = read(&target, 4096);
    assert_eq!(copied[1001..1078], bytes[3..80]);
    assert!(copied[..1001].iter().all(|byte| *byte == 0));
    assert!(copied[1078..].iter().all(|byte| *byte == 0));
}

#[test]
fn copy_within_one_allocation_works_if_nothing_overlaps() {
    let Some(device) = Checked::open() else {
        return;
    };
    let memory = visible(&device, "both", 4096, ExportNeed::None);
    let bytes = pattern(4096, 1);
    write(&memory, &bytes);

    finish(&device.copy(&memory, 0, &memory, 2048, 2048).unwrap());
    let overlap = device.copy(&memory, 0, &memory, 2047, 2048);

    assert_eq!(overlap.unwrap_err(), TransferError::Overlap);
    assert!(read(&memory, 4096)[2048..] == bytes[..2048]);
}

#[test]
fn ranges_outside_are_refused() {
    let Some(device) = Checked::open() else {
        return;
    };
    let small = visible(&device, "small", 1000, ExportNeed::None);
    let large = visible(&device, "large", 8192, ExportNeed::None);
    let refused = |result: Result<_, TransferError>| {
        let error = result.map(|_: coherd_vulkan::transfer::Submission| ());
        assert!(
            matches!(error, Err(TransferError::OutOfRange { .. })),
            "{error:?}"
        );
    };

    for (offset, size) in [(0, 0), (0, 1001), (1000, 1), (u64::MAX, 4), (4, u64::MAX)] {
        refused(device.copy(&small, offset, &large, 0, size));
        refused(device.copy(&large, 0, &small, offset, size));
        refused(device.fill(&small, offset, size, 0));
    }
}

#[test]
fn fill_that_is_not_made_of_words_is_refused() {
    let Some(device) = Checked::open() else {
        return;
    };
    let memory = visible(&device, "words", 4096, ExportNeed::None);
    for (offset, size) in [(1, 4), (2, 4), (0, 5), (4, 2)] {
        let error = device.fill(&memory, offset, size, 0).unwrap_err();
        assert_eq!(error, TransferError::Misaligned { offset, size });
    }
}

#[test]
fn memory_of_another_device_is_refused() {
    let (Some(device), Some(other)) = (Checked::open(), Checked::open()) else {
        return;
    };
    let own = visible(&device, "own", 4096, ExportNeed::None);
    let strange = visible(&other, "strange", 4096, ExportNeed::None);

    let copy = device.copy(&own, 0, &strange, 0, 4096);
    let fill = device.fill(&strange, 0, 4096, 0);

    assert_eq!(copy.unwrap_err(), TransferError::OtherDevice);
    assert_eq!(fill.unwrap_err(), TransferError::OtherDevice);
}

#[test]
fn transfers_are_executed_in_order() {
    for without in WAYS {
        let Some(device) = Checked::open_without(without) else {
            return;
        };
        let size = 1 << 20;
        let chain: Vec<_> = (0..16)
            .map(|_| visible(&device, "link", size, ExportNeed::None))
            .collect();

        device.fill(&chain[0], 0, size, 0xabab_abab).unwrap();
        let copies: Vec<_> = chain
            .windows(2)
            .map(|pair| device.copy(&pair[0], 0, &pair[1], 0, size).unwrap())
            .collect();
        finish(copies.last().unwrap());

        assert!(copies.iter().all(|copy| copy.is_done().unwrap()));
        let last = read(&chain[15], usize::try_from(size).unwrap());
        assert!(last.iter().all(|byte| *byte == 0xab));
    }
}

#[test]
fn memory_dropped_in_flight_lives_until_the_transfer_is_complete() {
    for without in WAYS {
        let Some(device) = Checked::open_without(without) else {
            return;
        };
        let size = 32 << 20;
        let target = visible(&device, "target", size, ExportNeed::None);
        let source = visible(&device, "dropped", size, ExportNeed::None);

        device.fill(&source, 0, size, 0x5555_5555).unwrap();
        let copy = device.copy(&source, 0, &target, 0, size).unwrap();
        drop(source);
        finish(&copy);

        let bytes = read(&target, usize::try_from(size).unwrap());
        assert!(bytes.iter().all(|byte| *byte == 0x55));
    }
}

#[test]
fn device_dropped_in_flight_waits_for_the_gpu() {
    for without in WAYS {
        let Some(device) = Checked::open_without(without) else {
            return;
        };
        let memory = visible(&device, "dropped", 32 << 20, ExportNeed::None);
        device.fill(&memory, 0, 32 << 20, 1).unwrap();
        drop(memory);
        drop(device);
    }
}

#[test]
fn allocation_outlives_its_device() {
    let Some(device) = Checked::open() else {
        return;
    };
    let memory = visible(&device, "outlives", 4096, ExportNeed::None);
    let clone = (*device).clone();
    drop(clone);
    let submission = device.fill(&memory, 0, 4096, 0x1111_1111).unwrap();
    finish(&submission);
    let unchecked = {
        let options = coherd_vulkan::Options::default();
        let other = coherd_vulkan::Device::open(&coherd_vulkan::Selector::Any, &options).unwrap();
        visible(&other, "orphan", 4096, ExportNeed::None)
    };

    write(&unchecked, &[9; 4096]);

    assert_eq!(read(&unchecked, 4096), [9; 4096]);
    assert_eq!(read(&memory, 4), [0x11; 4]);
}

#[test]
fn submissions_that_nobody_waits_for_are_let_go() {
    for without in WAYS {
        let Some(device) = Checked::open_without(without) else {
            return;
        };
        let memory = visible(&device, "again", 4096, ExportNeed::None);
        let mut last = device.fill(&memory, 0, 4096, 0).unwrap();
        let mut refusals = 0;
        for value in 1..800 {
            match device.fill(&memory, 0, 4096, value) {
                Ok(submission) => last = submission,
                // The GPU is slower than this loop.
                Err(TransferError::TooMany { .. }) => {
                    refusals += 1;
                    finish(&last);
                }
                Err(error) => panic!("{error:?}"),
            }
        }
        finish(&last);
        assert!(refusals < 400, "{refusals}");
    }
}

#[test]
fn wait_ends_at_its_timeout() {
    for without in WAYS {
        let Some(device) = Checked::open_without(without) else {
            return;
        };
        let size = device.max_allocation_size().min(64 << 20);
        let memory = visible(&device, "slow", size, ExportNeed::None);
        let fills: Vec<_> = (0..8)
            .map(|value| device.fill(&memory, 0, size, value).unwrap())
            .collect();
        let last = fills.last().unwrap();

        let early = last.wait(Duration::ZERO);
        let done_early = last.is_done().unwrap();
        finish(last);

        // A GPU may be that fast.
        if !done_early {
            assert_eq!(early, Err(WaitError::TimedOut));
        }
        assert!(last.is_done().unwrap());
        assert_eq!(last.wait(Duration::ZERO), Ok(()));
    }
}

#[test]
fn sync_file_polls_readable_when_the_transfer_is_complete() {
    for without in WAYS {
        let Some(device) = Checked::open_without(without) else {
            return;
        };
        let size = 16 << 20;
        let memory = visible(&device, "synced", size, ExportNeed::None);
        let submission = device.fill(&memory, 0, size, 0x7777_7777).unwrap();

        let files = match (submission.sync_file(), submission.sync_file()) {
            (Err(SyncFileError::Unsupported), Err(SyncFileError::Unsupported)) => {
                println!("SKIPPED: the device exports no sync files");
                finish(&submission);
                continue;
            }
            (first, second) => [first.unwrap(), second.unwrap()],
        };
        for file in files.iter().flatten() {
            let mut polled = [rustix::event::PollFd::new(
                file,
                rustix::event::PollFlags::IN,
            )];
            let timeout = rustix::event::Timespec::try_from(DEADLINE).unwrap();
            let ready = rustix::event::poll(&mut polled, Some(&timeout)).unwrap();
            assert_eq!(ready, 1);
        }

        assert!(submission.is_done().unwrap());
        let bytes = read(&memory, usize::try_from(size).unwrap());
        assert!(bytes.iter().all(|byte| *byte == 0x77));
    }
}

#[test]
fn without_the_extension_there_is_no_sync_file() {
    let Some(device) = Checked::open_without(&["VK_KHR_external_semaphore_fd"]) else {
        return;
    };
    let memory = visible(&device, "unsynced", 4096, ExportNeed::None);
    let submission = device.fill(&memory, 0, 4096, 0).unwrap();
    assert_eq!(
        submission.sync_file().unwrap_err(),
        SyncFileError::Unsupported
    );
    finish(&submission);
}

#[test]
fn threads_transfer_at_the_same_time() {
    for without in WAYS {
        let Some(device) = Checked::open_without(without) else {
            return;
        };
        std::thread::scope(|scope| {
            for thread in 0u8..4 {
                let device = &*device;
                scope.spawn(move || {
                    for round in 0u8..50 {
                        let word = [thread, round, thread, round];
                        let from = visible(device, "from", 65536, ExportNeed::None);
                        let to = visible(device, "to", 65536, ExportNeed::None);
                        let value = u32::from_le_bytes(word);
                        device.fill(&from, 0, 65536, value).unwrap();
                        finish(&device.copy(&from, 0, &to, 0, 65536).unwrap());
                        assert!(read(&to, 65536).chunks(4).all(|w| w == word));
                    }
                });
            }
        });
    }
}

#[test]
fn everything_holds_with_incoherent_memory_and_its_dma_bufs() {
    common::layer::all_but("everything_holds_with_incoherent_memory_and_its_dma_bufs");
}
