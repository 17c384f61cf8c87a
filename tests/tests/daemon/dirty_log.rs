//! The log of pages that the device writes to guest memory.

use std::fs::File;
use std::ops::Range;
use std::sync::Arc;

use coherd::mapping_type::Policies;
use coherd::serve::{Options, ServeError};
use coherd_blob::MismatchPolicy;
use coherd_protocol::gpu::Format;
use coherd_protocol::memory::MemoryProperties;
use coherd_tests::blob_gpu::MemoryGpu;
use coherd_tests::blob_rig::BlobRig;
use coherd_tests::driver::blob_program::Wish;
use coherd_tests::driver::{Buffer, Cursor, QueueKind, Request, Transfer};
use coherd_tests::frontend::{Config, DirtyLog, Flavour, Logging};
use coherd_tests::rig::{Rig, RigError};
use rustix::fs::{MemfdFlags, memfd_create};
use vm_memory::GuestAddress;

use crate::queues::returned;
use crate::{CTX, PAGE, with_context};

/// Bytes of a log for the 64 MiB of a guest.
const LOG: u64 = (64 << 20) / PAGE / 8;

/// Where used rings are logged as if they lay there, which is not where they lie.
const USED: u64 = 32 << 20;
/// The pages of that, of the control queue and the cursor queue.
const CONTROL_USED: u64 = USED / PAGE;
const CURSOR_USED: u64 = (USED + Logging::STRIDE) / PAGE;

/// No page.
const NONE: [u64; 0] = [];

/// Everything is logged.
const ALL: Logging = Logging {
    buffers: true,
    used: Some(USED),
};

fn options() -> Options {
    Options {
        dirty_log: true,
        ..Options::default()
    }
}

/// A rig whose guest has context [`CTX`], and a log in which nothing is logged yet.
fn rig() -> (Rig, DirtyLog) {
    let rig = Rig::with(Config::new(Flavour::Qemu), options()).unwrap();
    let log = DirtyLog::new(LOG).unwrap();
    rig.frontend.set_log(log.file(), 0, log.size()).unwrap();
    (with_context(rig), log)
}

fn pages(buffer: Buffer) -> Range<u64> {
    let end = buffer.addr.0 + u64::from(buffer.len);
    buffer.addr.0 / PAGE..end.div_ceil(PAGE)
}

/// The page of a queue's used ring, which lies in one.
fn used_page(rig: &Rig, queue: usize) -> u64 {
    rig.frontend.rings()[queue].layout().used.0 / PAGE
}

/// GET_DISPLAY_INFO with a request and room for its answer in pages of their own. The answer covers
/// two pages.
fn ask(rig: &mut Rig) -> Range<u64> {
    let request = rig.gpu.buffer(&Request::display_info().to_bytes()).unwrap();
    let room = rig.gpu.buffer(&[0; 2 * 4096]).unwrap();
    let room = Buffer {
        addr: GuestAddress(room.addr.0 + 4000),
        len: 408,
    };
    let queue = rig.gpu.queue(QueueKind::Control);
    queue.add(&[request], &[room]).unwrap();
    rig.gpu.kick(QueueKind::Control).unwrap();
    assert_eq!(returned(rig).len, 408);
    pages(room)
}

/// What was logged, with the used rings' own pages set aside: whether the device has asked for kicks
/// again when an answer is there is a matter of luck, and so is the page of that.
fn logged(rig: &Rig, log: &DirtyLog) -> Vec<u64> {
    let rings = [
        used_page(rig, 0),
        used_page(rig, 1),
        CONTROL_USED,
        CURSOR_USED,
    ];
    let mut logged = log.take();
    logged.retain(|page| !rings.contains(page));
    logged
}

#[test]
fn answer_and_used_ring_are_logged_and_nothing_else() {
    let (mut rig, log) = rig();
    rig.frontend.log_writes(ALL).unwrap();

    let answer = ask(&mut rig);

    let mut expected: Vec<u64> = answer.collect();
    expected.extend([used_page(&rig, 0), CONTROL_USED]);
    expected.sort_unstable();
    assert_eq!(log.take(), expected);
    rig.finish().unwrap();
}

#[test]
fn used_ring_is_logged_where_the_vmm_says() {
    let (mut rig, log) = rig();
    let used = Some(USED);
    let logging = Logging {
        buffers: false,
        used,
    };
    rig.frontend.log_writes(logging).unwrap();
    ask(&mut rig);
    assert_eq!(log.take(), [CONTROL_USED]);

    rig.gpu.move_cursor(&Cursor::default()).unwrap();
    assert_eq!(log.take().last(), Some(&CURSOR_USED));
    rig.finish().unwrap();
}

#[test]
fn cursor_queue_is_logged_too() {
    let (mut rig, log) = rig();
    rig.frontend.log_writes(ALL).unwrap();
    rig.gpu.move_cursor(&Cursor::default()).unwrap();
    let mut logged = log.take();
    let control = [used_page(&rig, 0), CONTROL_USED];
    logged.retain(|page| !control.contains(page));
    assert_eq!(logged, [used_page(&rig, 1), CURSOR_USED]);
    rig.finish().unwrap();
}

#[test]
fn nothing_is_logged_unless_that_is_wanted() {
    let (mut rig, log) = rig();
    ask(&mut rig);
    assert_eq!(log.take(), NONE);

    rig.frontend.log_writes(ALL).unwrap();
    ask(&mut rig);
    rig.frontend.log_writes(Logging::default()).unwrap();
    // What was under way when logging ended has ended before this one.
    ask(&mut rig);
    log.take();
    ask(&mut rig);
    rig.gpu.move_cursor(&Cursor::default()).unwrap();
    assert_eq!(log.take(), NONE);
    rig.finish().unwrap();
}

#[test]
fn texels_from_the_host_are_logged_where_they_lie() {
    let (mut rig, log) = rig();
    rig.gpu.create_2d(1, Format::B8G8R8A8, 64, 64).unwrap();
    rig.gpu.create_3d(2, [64, 64, 1]).unwrap();
    let backings = [1, 2].map(|id| {
        // Two ranges, the latter of which lies before the former.
        let [low, high] = [(); 2].map(|()| rig.gpu.buffer(&[7; 2 * 4096]).unwrap());
        rig.gpu.attach_backing(id, &[high, low]).unwrap();
        rig.gpu.ctx_attach(CTX, id).unwrap();
        (high, low)
    });
    rig.frontend.log_writes(ALL).unwrap();
    ask(&mut rig);
    log.take();

    for (id, (high, low)) in [1, 2].into_iter().zip(backings) {
        // The rows 30 to 34 of 256 bytes each: the end of one range and the start of the other.
        let part = Transfer {
            ctx_id: CTX,
            resource_id: id,
            region: [0, 30, 0, 64, 4, 1],
            offset: 30 * 256,
            stride: 256,
            ..Transfer::default()
        };
        rig.gpu.transfer_to_host_3d(&part).unwrap();
        let to_host = logged(&rig, &log);
        rig.gpu.transfer_from_host_3d(&part).unwrap();
        let from_host = logged(&rig, &log);

        let backing = [pages(high).end - 1, pages(low).start];
        assert!(
            !to_host.iter().any(|page| backing.contains(page)),
            "{id}: {to_host:?}"
        );
        let all = pages(low).chain(pages(high));
        let touched: Vec<u64> = all.filter(|page| from_host.contains(page)).collect();
        assert_eq!(touched, [backing[1], backing[0]], "{id}");
    }
    rig.finish().unwrap();
}

#[test]
fn replies_of_blob_contexts_are_logged() {
    let gpu = MemoryGpu::new();
    let policies = Policies::all(MismatchPolicy::Warn);
    let mut rig = BlobRig::with(&Arc::new(gpu), Flavour::Qemu, policies, options()).unwrap();
    let log = DirtyLog::new(LOG).unwrap();
    rig.frontend.set_log(log.file(), 0, log.size()).unwrap();
    rig.frontend.log_writes(ALL).unwrap();
    let replies = pages(rig.program.replies());
    log.take();

    let wish = Wish {
        size: PAGE,
        required: MemoryProperties::HOST_VISIBLE,
        ..Wish::default()
    };
    rig.program.allocate(&mut rig.gpu, wish).unwrap().unwrap();

    let logged = log.take();
    let in_replies: Vec<&u64> = logged
        .iter()
        .filter(|page| replies.contains(page))
        .collect();
    assert_eq!(in_replies, [&replies.start], "{logged:?}");
    rig.finish().unwrap();
}

#[test]
fn log_can_be_cleared_and_replaced_while_the_device_runs() {
    let (mut rig, old) = rig();
    rig.frontend.log_writes(ALL).unwrap();
    let first = ask(&mut rig);
    assert_eq!(logged(&rig, &old), first.collect::<Vec<_>>());
    let second = ask(&mut rig);
    assert_eq!(logged(&rig, &old), second.collect::<Vec<_>>());

    // It lies behind something else in its file.
    let new = DirtyLog::new(PAGE + LOG).unwrap();
    rig.frontend.set_log(new.file(), PAGE, LOG).unwrap();
    let third = ask(&mut rig);

    old.take();
    let before = PAGE * 8;
    let mut logged: Vec<u64> = new.take().iter().map(|bit| bit - before).collect();
    logged.retain(|page| third.contains(page));
    assert_eq!(logged, third.collect::<Vec<_>>());
    ask(&mut rig);
    assert_eq!(old.take(), NONE);
    rig.finish().unwrap();
}

#[test]
fn log_goes_on_through_a_stop_and_a_new_memory_table() {
    let (mut rig, log) = rig();
    rig.frontend.log_writes(ALL).unwrap();
    ask(&mut rig);
    rig.frontend.repeat_memory().unwrap();
    log.take();
    let answer = ask(&mut rig);
    assert_eq!(logged(&rig, &log), answer.collect::<Vec<_>>());

    let bases = rig.frontend.stop().unwrap();
    log.take();
    rig.frontend.resume(&bases).unwrap();
    rig.frontend.log_writes(ALL).unwrap();
    let answer = ask(&mut rig);
    assert_eq!(logged(&rig, &log), answer.collect::<Vec<_>>());
    rig.finish().unwrap();
}

/// A log that the daemon refuses, which ends the connection and not the daemon.
fn refused(file: &File, offset: u64, size: u64) {
    let (rig, _log) = rig();
    assert!(rig.frontend.set_log(file, offset, size).is_err());
    let Rig {
        frontend, server, ..
    } = rig;
    drop(frontend);
    let error = server.finish().unwrap_err();
    let is_told = matches!(error, RigError::Daemon(ServeError::Protocol(_)));
    assert!(is_told, "{error:?}");
}

#[test]
fn impossible_logs_end_the_connection_with_an_error() {
    let log = DirtyLog::new(LOG).unwrap();
    for (offset, size) in [
        (0, LOG - 1),
        (0, 2 * PAGE),
        (PAGE, LOG),
        (u64::MAX - 1, LOG),
        (0, u64::MAX),
    ] {
        refused(log.file(), offset, size);
    }
    let larger = DirtyLog::new(2 * LOG).unwrap();
    refused(larger.file(), 1, LOG);
    let empty = memfd_create("empty", MemfdFlags::CLOEXEC).unwrap();
    refused(&File::from(empty), 0, LOG);
    let (pipe, _other_end) = rustix::pipe::pipe().unwrap();
    refused(&File::from(pipe), 0, LOG);
}

#[test]
fn log_without_the_option_ends_the_connection_with_an_error() {
    let rig = Rig::new(Flavour::Qemu).unwrap();
    let log = DirtyLog::new(LOG).unwrap();
    assert!(rig.frontend.set_log(log.file(), 0, LOG).is_err());
    let Rig {
        frontend, server, ..
    } = rig;
    drop(frontend);
    assert!(server.finish().is_err());
}
