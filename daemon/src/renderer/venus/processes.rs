//! The workers' processes, for the ones that do not end.
//!
//! When a context is destroyed virglrenderer closes the socket to its worker and believes that the
//! worker ends. One whose GPU work never ends waits for it for ever, so a guest could leave behind
//! as many busy processes as it likes. The render server starts a worker as its own child while
//! virglrenderer creates the context, which is how they are told apart here.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, retry_on_intr};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tracing::{debug, warn};

use crate::limiter::Limiter;
use crate::reactor::Ticker;

/// How long a worker may take to end after its context.
const LAST_WORK: Duration = Duration::from_secs(5);

/// How often those are looked after that have yet to end.
const LOOK: Duration = Duration::from_secs(1);

/// Bytes of the list of children that are read: 512 contexts with the longest numbers, and more.
const LIST: usize = 16 << 10;

/// A worker whose context is gone.
#[derive(Debug)]
struct Leaving {
    process: OwnedFd,
    until: Instant,
}

/// See the module's description.
#[derive(Debug)]
pub struct WorkerProcesses {
    /// The list of the server's children. Where /proc hides processes it shows the server once that
    /// has become its own program.
    list: PathBuf,
    of_context: HashMap<u32, OwnedFd>,
    leaving: Vec<Leaving>,
    ticker: Ticker,
    log: Limiter,
}

impl WorkerProcesses {
    /// The workers of the render server with the process id `server`, of which there are none.
    ///
    /// # Errors
    /// The error of timerfd_create.
    pub fn new(server: Pid) -> Result<Self, Errno> {
        let server = server.as_raw_pid();
        Ok(Self {
            list: format!("/proc/{server}/task/{server}/children").into(),
            of_context: HashMap::new(),
            leaving: Vec::new(),
            ticker: Ticker::new()?,
            log: Limiter::new(Duration::from_secs(60), 1),
        })
    }

    /// Readable when [`WorkerProcesses::look`] is to be called.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.ticker.as_fd()
    }

    /// Runs `create`, which has virglrenderer create a context, and finds its worker.
    pub fn create<T, E>(
        &mut self,
        ctx_id: u32,
        create: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let before = self.list();
        let created = create()?;
        let after = self.list();
        let mut new = after.iter().filter(|pid| !before.contains(pid));
        if let (Some(pid), None) = (new.next(), new.next())
            && let Ok(process) = pidfd_open(*pid, PidfdFlags::empty())
        {
            self.of_context.insert(ctx_id, process);
        } else if let Some(held_back) = self.log.pass(Instant::now()) {
            warn!(
                ctx_id,
                held_back, "the context's worker could not be found, and cannot be ended"
            );
        }
        Ok(created)
    }

    /// Ends the worker of a context that is about to be destroyed.
    pub fn kill(&mut self, ctx_id: u32) {
        if let Some(process) = self.of_context.get(&ctx_id) {
            end(process);
        }
    }

    /// Follows the end of a context, whose worker has some time to end.
    pub fn forget(&mut self, ctx_id: u32) {
        let Some(process) = self.of_context.remove(&ctx_id) else {
            return;
        };
        if self.leaving.is_empty() {
            // Without a clock it would be looked after when the next one leaves.
            let _ = self.ticker.set(Some(LOOK));
        }
        let until = Instant::now() + LAST_WORK;
        self.leaving.push(Leaving { process, until });
    }

    /// Ends those whose time is over.
    pub fn look(&mut self, now: Instant) {
        self.ticker.take();
        self.leaving.retain(|worker| {
            if has_ended(worker.process.as_fd()) {
                return false;
            }
            if worker.until <= now {
                debug!("a worker does not end after its context, and is killed");
                end(&worker.process);
            }
            true
        });
        if self.leaving.is_empty() {
            let _ = self.ticker.set(None);
        }
    }

    fn list(&self) -> Vec<Pid> {
        let mut text = vec![0; LIST];
        let read = File::open(&self.list).and_then(|file| file.read_at(&mut text, 0));
        let text = String::from_utf8_lossy(text.get(..read.unwrap_or(0)).unwrap_or_default());
        text.split_whitespace()
            .filter_map(|pid| Pid::from_raw(pid.parse().ok()?))
            .collect()
    }
}

fn end(process: &OwnedFd) {
    // One that has ended meanwhile is no error.
    let _ = pidfd_send_signal(process, Signal::KILL);
}

fn has_ended(process: BorrowedFd<'_>) -> bool {
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let mut fds = [PollFd::from_borrowed_fd(process, PollFlags::IN)];
    matches!(retry_on_intr(|| poll(&mut fds, Some(&now))), Ok(ready) if ready > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command, Stdio};

    /// This process starts children as the render server does.
    fn workers() -> WorkerProcesses {
        let mut workers = WorkerProcesses::new(rustix::process::getpid()).unwrap();
        // Tests run in threads, whose children are listed by thread.
        let thread = rustix::thread::gettid().as_raw_pid();
        workers.list = format!("/proc/self/task/{thread}/children").into();
        workers
    }

    fn endless() -> std::io::Result<Child> {
        Command::new("sleep")
            .arg("1000")
            .stdin(Stdio::null())
            .spawn()
    }

    #[test]
    fn worker_is_found_of_a_server_that_could_not_be_seen_at_first() {
        let _alone = super::super::alone();
        let folder = tempfile::tempdir().unwrap();
        let mut workers = WorkerProcesses::new(rustix::process::getpid()).unwrap();
        workers.list = folder.path().join("children");
        let list = workers.list.clone();
        let create = || {
            let worker = endless()?;
            std::fs::write(&list, format!("{} ", worker.id()))?;
            Ok::<_, std::io::Error>(worker)
        };

        let mut worker = workers.create(1, create).unwrap();

        workers.kill(1);
        assert!(!worker.wait().unwrap().success());
    }

    #[test]
    fn worker_that_does_not_end_after_its_context_is_ended() {
        let _alone = super::super::alone();
        let mut workers = workers();
        let mut first = workers.create(1, endless).unwrap();
        let mut second = workers.create(2, endless).unwrap();
        workers.forget(1);
        workers.look(Instant::now());
        assert!(first.try_wait().unwrap().is_none());

        workers.look(Instant::now() + LAST_WORK);

        assert!(!first.wait().unwrap().success());
        workers.look(Instant::now() + LAST_WORK);
        assert!(workers.leaving.is_empty());
        assert!(second.try_wait().unwrap().is_none());
        workers.kill(2);
        assert!(!second.wait().unwrap().success());
    }
}
