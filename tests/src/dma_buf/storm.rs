//! Signals, faster than a wait can take them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Between two signals: shorter than any wait of the tests, long enough for one to begin.
const PAUSE: Duration = Duration::from_micros(200);

/// Nothing else in the tests uses it.
const SIGNAL: libc::c_int = libc::SIGUSR2;

extern "C" fn catch(_signal: libc::c_int) {}

/// What a storm did to a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Storm {
    /// Signals that were sent.
    pub signals: u64,
}

impl Storm {
    /// Runs `work` in a thread that signals interrupt all the time, and returns its result. The
    /// kernel restarts no system call of it.
    ///
    /// # Panics
    /// If the signal cannot be caught, or `work` panics.
    pub fn over<T: Send>(work: impl FnOnce() -> T + Send) -> (T, Self) {
        install();
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let (tell, told) = mpsc::channel();
            let done = &done;
            let worker = scope.spawn(move || {
                // SAFETY: it has no preconditions.
                let _ = tell.send(unsafe { libc::pthread_self() });
                let result = work();
                done.store(true, Ordering::Release);
                result
            });
            let mut signals = 0;
            if let Ok(target) = told.recv() {
                while !done.load(Ordering::Acquire) && !worker.is_finished() {
                    // SAFETY: the thread is not joined before the end of this loop, so that its id
                    // is valid even if it has ended.
                    unsafe { libc::pthread_kill(target, SIGNAL) };
                    signals += 1;
                    thread::sleep(PAUSE);
                }
            }
            match worker.join() {
                Ok(result) => (result, Self { signals }),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }
}

fn install() {
    // SAFETY: all bytes zero is an action without flags and with an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = catch as *const () as libc::sighandler_t;
    // SAFETY: the handler does nothing. Without SA_RESTART waits end with EINTR.
    let done = unsafe { libc::sigaction(SIGNAL, &raw const action, std::ptr::null_mut()) };
    assert_eq!(done, 0, "the signal cannot be caught");
}
