//! The queue of a context's jobs, and the life of the thread that serves it.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use coherd_protocol::gpu::header::Fence;
use tracing::error;

use super::gpu::Gpu;
use super::job::{Job, Runner};
use super::slot::{Gauge, Slot};
use crate::cage;
use crate::explain::one_line;
use crate::renderer::FenceSink;

/// Bytes of stack of a context's thread, in which the driver's library runs.
const STACK: usize = 1 << 20;

/// Threads that serve contexts, those of contexts that are gone included.
const THREADS: usize = 2048;

/// Counts the threads of all contexts.
#[derive(Clone, Debug, Default)]
pub struct Threads(Arc<(Mutex<usize>, Condvar)>);

/// A thread that runs.
struct Running(Threads);

impl Threads {
    fn begin(&self) -> Option<Running> {
        let mut count = self.lock();
        let begun = (*count < THREADS).then(|| Running(self.clone()));
        *count += usize::from(begun.is_some());
        begun
    }

    /// Waits until no thread is left; `false` if some are after `timeout`.
    pub fn wait_ended(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let mut count = self.lock();
        while *count > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            count = self
                .0
                .1
                .wait_timeout(count, left)
                .map_or_else(|poison| poison.into_inner().0, |(count, _)| count);
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, usize> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut count = self.0.lock();
        *count = count.saturating_sub(1);
        drop(count);
        self.0.0.1.notify_all();
    }
}

/// Who carries out the jobs of contexts.
#[derive(Clone, Debug)]
pub enum Service {
    /// A thread for each context.
    Threads(Threads),
    /// Whoever puts them in, at once: for GPUs that have nothing to wait for.
    Caller,
}

/// What a runner is to do next.
pub enum Next<G: Gpu> {
    /// This.
    Job(Job<G>, Slot),
    /// Nothing new.
    Nothing,
    /// End: the context is gone.
    End,
}

/// What the device thread and the context's thread share.
pub struct Shared<G: Gpu> {
    state: Mutex<State<G>>,
    changed: Condvar,
    closed: AtomicBool,
}

struct State<G: Gpu> {
    jobs: VecDeque<(Job<G>, Slot)>,
    /// Whether the runner has something to do besides.
    busy: bool,
}

impl<G: Gpu> Shared<G> {
    /// Takes the next job for a runner that has nothing else to do if it `is_idle`.
    pub fn next(&self, is_idle: bool) -> Next<G> {
        self.take(&mut self.lock(), is_idle)
    }

    /// Takes the next job for a runner that has nothing else to do, and waits for one.
    pub fn wait_next(&self) -> Next<G> {
        let mut state = self.lock();
        loop {
            match self.take(&mut state, true) {
                Next::Nothing => {}
                next => return next,
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn take(&self, state: &mut State<G>, is_idle: bool) -> Next<G> {
        if self.is_closed() {
            return Next::End;
        }
        let job = state.jobs.pop_front();
        state.busy = job.is_some() || !is_idle;
        job.map_or(Next::Nothing, |(job, slot)| Next::Job(job, slot))
    }

    /// Set once the context is gone.
    pub fn closed(&self) -> &AtomicBool {
        &self.closed
    }

    /// Whether the context is gone.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, State<G>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The jobs of a context. Its thread starts with the first and ends with the context.
pub struct Queue<G: Gpu> {
    shared: Arc<Shared<G>>,
    gpu: Arc<G>,
    fences: FenceSink,
    service: Service,
    gauge: Gauge,
    started: bool,
    /// The runner of [`Service::Caller`].
    runner: Option<Runner<G>>,
}

impl<G: Gpu> Queue<G> {
    /// An empty queue. `gauge` counts its jobs.
    pub fn new(gpu: Arc<G>, fences: FenceSink, service: Service, gauge: Gauge) -> Self {
        Self {
            shared: Arc::new(Shared {
                state: Mutex::new(State {
                    jobs: VecDeque::new(),
                    busy: false,
                }),
                changed: Condvar::new(),
                closed: AtomicBool::new(false),
            }),
            gpu,
            fences,
            service,
            gauge,
            started: false,
            runner: None,
        }
    }

    /// Jobs of the VM and of this context that are not done.
    pub fn counts(&self) -> (usize, usize) {
        self.gauge.counts()
    }

    /// Whether anything was ever put in.
    pub fn is_started(&self) -> bool {
        self.started
    }

    /// Whether everything that was put in is done.
    pub fn is_idle(&self) -> bool {
        let state = self.shared.lock();
        state.jobs.is_empty() && !state.busy
    }

    /// Puts a job behind the others.
    ///
    /// # Errors
    /// The error of the thread that could not be started; the job is dropped.
    pub fn put(&mut self, job: Job<G>) -> io::Result<()> {
        if !self.started {
            self.start()?;
            self.started = true;
        }
        self.shared.lock().jobs.push_back((job, self.gauge.take()));
        match &mut self.runner {
            Some(runner) => runner.run_queued(),
            None => self.shared.changed.notify_one(),
        }
        Ok(())
    }

    /// Signals a fence when everything that was put in is done.
    ///
    /// # Errors
    /// As for [`Queue::put`]
    pub fn put_fence(&mut self, fence: Fence) -> io::Result<()> {
        if self.is_idle() {
            self.fences.signal(fence);
            return Ok(());
        }
        self.put(Job::Fence(fence))
    }

    fn start(&mut self) -> io::Result<()> {
        let runner = Runner::new(
            Arc::clone(&self.gpu),
            Arc::clone(&self.shared),
            self.fences.clone(),
        );
        let Service::Threads(threads) = &self.service else {
            self.runner = Some(runner);
            return Ok(());
        };
        let running = threads.begin();
        let running =
            running.ok_or_else(|| io::Error::other("too many contexts wait for the GPU"))?;
        thread::Builder::new()
            .name("blob-context".into())
            .stack_size(STACK)
            .spawn(move || {
                // Nothing of the guest's runs in a thread that is not confined.
                if let Err(error) = cage::confine(cage::Thread::Context) {
                    error!("a context gets no thread: {}", one_line(&error));
                    std::process::abort();
                }
                runner.run();
                drop(running);
            })
            .map(drop)
    }
}

/// The context is gone. Its thread is not waited for, since the GPU may hang.
impl<G: Gpu> Drop for Queue<G> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        self.shared.closed.store(true, Ordering::Relaxed);
        let jobs = std::mem::take(&mut state.jobs);
        drop(state);
        self.shared.changed.notify_one();
        drop(jobs);
    }
}
