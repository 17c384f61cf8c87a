//! Calls: patience, lost contexts, and the memory for replies.

use std::time::Duration;

use coherd_protocol::blob_context::command::{self, opcode};

use super::{COHERENT, allocate};
use crate::fake::{FakeHost, Fault};
use crate::{AllocateError, AllocationRequest, CallError, Options, Status};

fn impatient() -> Options {
    Options {
        patience: Some(Duration::from_millis(20)),
        ..Options::default()
    }
}

#[test]
fn capset_says_what_the_host_is() {
    let context = FakeHost::new().open();
    let host = context.host();
    assert_eq!(host.name, "fake");
    assert!(host.images && host.dma_buf && host.software);
    assert_eq!(
        (host.types.len(), host.heaps.len(), host.formats.len()),
        (5, 1, 2)
    );
}

#[test]
fn host_that_does_not_answer_is_not_waited_for_without_end() {
    let host = FakeHost::new();
    let context = host.open_with(&impatient());
    host.fail(Fault::Hang);
    let error = context.wait_idle().unwrap_err();
    assert!(matches!(error, CallError::TimedOut(_)), "{error}");
}

#[test]
fn reply_memory_is_not_used_again_before_its_late_reply() {
    let host = FakeHost::new();
    let context = host.open_with(&impatient());
    host.fail(Fault::Hang);
    for _ in 0..32 {
        assert!(context.wait_idle().is_err());
    }
    host.fail(Fault::None);
    let error = context.wait_idle().unwrap_err();
    assert!(
        matches!(error, CallError::TimedOut(_)),
        "no slot is free: {error}"
    );
    host.signal_held();
    for _ in 0..64 {
        context.wait_idle().unwrap();
    }
}

#[test]
fn allocation_that_may_have_happened_is_released() {
    let host = FakeHost::new();
    let context = host.open_with(&impatient());
    host.fail(Fault::Lost);
    let error = context
        .allocate(&AllocationRequest::new(4096, COHERENT))
        .unwrap_err();
    assert!(matches!(
        error,
        AllocateError::Host {
            source: CallError::Lost,
            ..
        }
    ));
    host.fail(Fault::Hang);
    assert!(
        context
            .allocate(&AllocationRequest::new(4096, COHERENT))
            .is_err()
    );
    assert_eq!(host.executed(), ["RELEASE: UnknownObject"]);
}

#[test]
fn more_threads_than_slots_all_get_their_own_reply() {
    let host = FakeHost::new();
    let context = host.open();
    std::thread::scope(|scope| {
        for thread in 0..48u64 {
            let context = &context;
            scope.spawn(move || {
                for turn in 0..20 {
                    let size = 4096 * (1 + (thread + turn) % 7);
                    let request = AllocationRequest::new(size, COHERENT);
                    assert_eq!(context.allocate(&request).unwrap().size(), size);
                }
            });
        }
    });
    assert_eq!(host.holdings(), (0, 0));
}

#[test]
fn any_command_can_be_sent_and_its_status_comes_back() {
    let context = FakeHost::new().open();
    let error = context.call(77, &[0u8; 8], &[0u8; 0]).unwrap_err();
    assert_eq!(error.status(), Some(Status::UnknownCommand));
    let release = command::Release { blob_id: 5.into() };
    let error = context
        .call(opcode::RELEASE, &release, &[0u8; 0])
        .unwrap_err();
    assert_eq!(error.status(), Some(Status::UnknownObject));
}

#[test]
fn pending_work_keeps_its_memory() {
    let host = FakeHost::new();
    let context = host.open();
    let (from, to) = (allocate(&context, COHERENT), allocate(&context, COHERENT));
    let work = context.copy(from.at(0), to.at(0), 4096).unwrap();
    drop((from, to));
    assert_eq!(host.holdings(), (2, 0));
    work.wait().unwrap();
    assert_eq!(host.holdings(), (0, 0));
}

#[test]
fn wrong_transfers_have_a_status() {
    let context = FakeHost::new().open();
    let memory = allocate(&context, COHERENT);
    let outside = context.copy(memory.at(0), memory.at(4 * 4096), 1).unwrap();
    assert_eq!(
        outside.wait().unwrap_err().call().status(),
        Some(Status::Invalid)
    );
    let odd = context.fill(memory.at(2), 4, 0).unwrap();
    assert_eq!(
        odd.wait().unwrap_err().call().status(),
        Some(Status::Invalid)
    );
}

#[test]
fn errors_say_what_failed_and_why() {
    let host = FakeHost::new();
    let context = host.open();
    host.fail(Fault::Refuse(opcode::ALLOCATE, Status::OutOfDeviceMemory));
    let error = context
        .allocate(&AllocationRequest::new(5000, COHERENT))
        .unwrap_err();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    assert!(text.starts_with("cannot allocate 8192 bytes of "), "{text}");
    assert!(
        text.ends_with(": the host refuses: device is out of memory"),
        "{text}"
    );
}
