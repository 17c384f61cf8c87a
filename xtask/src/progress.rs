//! Progress lines on standard error.

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long a step may stay silent before it is mentioned again.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// Prints what a command is doing, with the seconds since it began.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    began: Instant,
}

impl Progress {
    /// Starts the clock.
    #[must_use]
    pub fn start() -> Self {
        Self {
            began: Instant::now(),
        }
    }

    /// Prints one line.
    pub fn say(&self, text: &str) {
        eprintln!("[{:6.1} s] {text}", self.began.elapsed().as_secs_f32());
    }

    /// Mentions `what` every ten seconds until the result is dropped.
    #[must_use]
    pub fn waiting(&self, what: &str) -> Waiting {
        let (stop, stopped) = mpsc::channel::<()>();
        let (progress, what) = (*self, what.to_owned());
        let thread = thread::spawn(move || {
            while stopped.recv_timeout(HEARTBEAT) == Err(RecvTimeoutError::Timeout) {
                progress.say(&format!("still {what}"));
            }
        });
        Waiting {
            stop: Some(stop),
            thread: Some(thread),
        }
    }
}

/// A step under way; see [`Progress::waiting`].
#[derive(Debug)]
pub struct Waiting {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // A heartbeat that panicked has nothing to tell.
            let _ = thread.join();
        }
    }
}
