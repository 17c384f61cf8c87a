//! Threads that do what may block.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

/// Something to do.
pub trait Job: Send + 'static {
    /// Does it, or a part of it: what is returned is left for later.
    fn run(self) -> Option<Self>
    where
        Self: Sized;
}

/// A bounded number of threads with one queue. They end when this is dropped and the queue is
/// empty; nobody waits for one that is stuck.
pub struct Helpers<J: Job> {
    shared: Arc<Shared<J>>,
    name: &'static str,
    most: usize,
}

struct Shared<J> {
    queue: Mutex<Queue<J>>,
    changed: Condvar,
}

struct Queue<J> {
    /// Jobs that nobody has tried, which come first.
    fresh: VecDeque<J>,
    /// Jobs that are not finished.
    again: VecDeque<J>,
    threads: usize,
    idle: usize,
    closed: bool,
}

impl<J: Job> Helpers<J> {
    /// At most `most` threads, the first of which is there at once.
    ///
    /// # Errors
    /// The error with which the thread did not start.
    pub fn new(name: &'static str, most: usize) -> std::io::Result<Self> {
        let queue = Queue {
            fresh: VecDeque::new(),
            again: VecDeque::new(),
            threads: 0,
            idle: 0,
            closed: false,
        };
        let helpers = Self {
            shared: Arc::new(Shared {
                queue: Mutex::new(queue),
                changed: Condvar::new(),
            }),
            name,
            most,
        };
        helpers.start_thread()?;
        helpers.shared.lock().threads = 1;
        Ok(helpers)
    }

    /// Leaves a job for the next thread that is free.
    pub fn submit(&self, job: J) {
        let mut queue = self.shared.lock();
        queue.fresh.push_back(job);
        let waiting = queue.fresh.len() + queue.again.len();
        let is_short = queue.idle < waiting && queue.threads < self.most;
        // The threads that there are do it later where no other can be had.
        if is_short && self.start_thread().is_ok() {
            queue.threads += 1;
        }
        drop(queue);
        self.shared.changed.notify_one();
    }

    fn start_thread(&self) -> std::io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let thread = thread::Builder::new().name(self.name.to_owned());
        thread.spawn(move || shared.work()).map(drop)
    }
}

impl<J: Job> fmt::Debug for Helpers<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let queue = self.shared.lock();
        f.debug_struct("Helpers")
            .field("name", &self.name)
            .field("threads", &queue.threads)
            .finish_non_exhaustive()
    }
}

impl<J: Job> Drop for Helpers<J> {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_all();
    }
}

impl<J: Job> Shared<J> {
    fn work(&self) {
        while let Some(job) = self.next() {
            if let Some(job) = job.run() {
                self.lock().again.push_back(job);
            }
        }
    }

    /// Waits for a job; `None` when there will be none.
    fn next(&self) -> Option<J> {
        let mut queue = self.lock();
        loop {
            let fresh = queue.fresh.pop_front();
            if let Some(job) = fresh.or_else(|| queue.again.pop_front()) {
                return Some(job);
            }
            if queue.closed {
                return None;
            }
            queue.idle += 1;
            queue = self
                .changed
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
            queue.idle -= 1;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue<J>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::time::Duration;

    const PATIENCE: Duration = Duration::from_secs(10);

    enum Task {
        /// Waits until the test lets it.
        Hang(Arc<Mutex<()>>),
        /// Says so, after so many other turns.
        Tell(mpsc::Sender<u32>, u32),
    }

    impl Job for Task {
        fn run(self) -> Option<Self> {
            match self {
                Self::Hang(gate) => {
                    drop(gate.lock());
                    None
                }
                Self::Tell(told, 0) => {
                    let _ = told.send(0);
                    None
                }
                Self::Tell(told, turns) => Some(Self::Tell(told, turns - 1)),
            }
        }
    }

    #[test]
    fn job_that_hangs_does_not_keep_others_waiting() {
        let helpers = Helpers::new("test", 2).unwrap();
        let gate = Arc::new(Mutex::new(()));
        let closed = gate.lock().unwrap();
        helpers.submit(Task::Hang(Arc::clone(&gate)));
        let (told, heard) = mpsc::channel();
        helpers.submit(Task::Tell(told, 3));
        assert_eq!(heard.recv_timeout(PATIENCE), Ok(0));
        drop(closed);
    }

    #[test]
    fn what_was_left_to_do_is_done_after_the_end() {
        let helpers = Helpers::new("test", 1).unwrap();
        let gate = Arc::new(Mutex::new(()));
        let closed = gate.lock().unwrap();
        let (told, heard) = mpsc::channel();
        helpers.submit(Task::Hang(Arc::clone(&gate)));
        helpers.submit(Task::Tell(told, 0));
        drop(helpers);
        drop(closed);
        assert_eq!(heard.recv_timeout(PATIENCE), Ok(0));
    }
}
