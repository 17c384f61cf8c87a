//! Brackets of a buffer that a GPU is still at work on: what waits, and what interrupts the wait.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use coherd_tests::dma_buf::{Storm, SyncFlags, Vgem, export_sync_file, sync};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::SIZE;

const READ: SyncFlags = SyncFlags::READ;
const WRITE: SyncFlags = SyncFlags::WRITE;
const END: SyncFlags = SyncFlags::END;

/// Long enough for a wait to have begun, and far less than the ten seconds of a vgem fence.
const A_WHILE: Duration = Duration::from_millis(300);
const SOON: Duration = Duration::from_secs(5);
const AT_ONCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

#[test]
fn start_waits_for_the_gpu_and_end_does_not() {
    let Some(vgem) = Vgem::find().unwrap() else {
        return;
    };
    let buffer = vgem.allocate(SIZE).unwrap();
    let fd = buffer.fd().unwrap();
    let fence = buffer.busy().unwrap();
    assert_eq!(sync(&fd, WRITE | END), Ok(()));
    thread::scope(|scope| {
        let (tell, told) = mpsc::channel();
        scope.spawn(move || tell.send(sync(&fd, WRITE)));
        let waiting = told.recv_timeout(A_WHILE);
        assert_eq!(waiting, Err(mpsc::RecvTimeoutError::Timeout));
        fence.signal().unwrap();
        assert_eq!(told.recv_timeout(SOON), Ok(Ok(())));
    });
}

#[test]
fn a_signal_ends_the_wait_of_a_start() {
    let Some(vgem) = Vgem::find().unwrap() else {
        return;
    };
    let buffer = vgem.allocate(SIZE).unwrap();
    let fence = buffer.busy().unwrap();
    let (result, storm) = Storm::over(|| sync(&buffer, READ));
    assert_eq!(result, Err(Errno::INTR));
    assert!(storm.signals > 0);
    fence.signal().unwrap();
    assert_eq!(sync(&buffer, READ), Ok(()));
}

#[test]
fn a_start_that_is_tried_again_gets_through_a_storm_of_signals() {
    let Some(vgem) = Vgem::find().unwrap() else {
        return;
    };
    let buffer = vgem.allocate(SIZE).unwrap();
    let fence = buffer.busy().unwrap();
    let (tell, told) = mpsc::channel();
    let (interrupted, storm) = thread::scope(|scope| {
        scope.spawn(move || {
            // The bracket has been interrupted several times by now.
            told.recv_timeout(SOON).unwrap();
            fence.signal().unwrap();
        });
        Storm::over(|| {
            let mut interrupted = 0;
            loop {
                match sync(&buffer, READ) {
                    Err(Errno::INTR) => interrupted += 1,
                    other => break other.map(|()| interrupted),
                }
                if interrupted == 20 {
                    tell.send(()).unwrap();
                }
            }
        })
    });
    assert!(interrupted.unwrap() >= 20, "{interrupted:?} of {storm:?}");
}

#[test]
fn a_file_of_fences_tells_whether_a_start_would_wait() {
    let Some(vgem) = Vgem::find().unwrap() else {
        return;
    };
    let buffer = vgem.allocate(SIZE).unwrap();
    let is_idle = |file: &std::os::fd::OwnedFd| {
        let mut fds = [PollFd::new(file, PollFlags::IN)];
        poll(&mut fds, Some(&AT_ONCE)).unwrap() == 1
    };
    assert!(is_idle(&export_sync_file(&buffer, READ).unwrap()));
    let fence = buffer.busy().unwrap();
    let fences = export_sync_file(&buffer, READ).unwrap();
    assert!(!is_idle(&fences));
    assert!(!is_idle(&buffer.fd().unwrap()));
    fence.signal().unwrap();
    assert!(is_idle(&fences));
    assert!(is_idle(&buffer.fd().unwrap()));
}
