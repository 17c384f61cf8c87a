//! What the GPU is doing, and what the test wants of it.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use coherd::renderer::blob_context::gpu::WorkError;
use coherd_protocol::blob_context::Status;

use super::HEAP;

/// Something that the GPU's driver is called for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names say all")]
pub enum Call {
    Allocate,
    CreateImage,
    Export,
    Copy,
    Fill,
    Flush,
    Invalidate,
    Wait,
}

type Action = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct State {
    held: bool,
    lost: bool,
    given: u64,
    done: u64,
    waiting: VecDeque<Action>,
    calls: Vec<Call>,
    /// Which call fails, from 0, and how.
    fault: Option<(usize, Status)>,
    blobs: usize,
    bytes: u64,
    /// Bytes beyond [`HEAP`] that there may be.
    more: u64,
}

#[derive(Default)]
struct Inner {
    state: Mutex<State>,
    changed: Condvar,
}

/// The GPU; clones are handles to the same one.
#[derive(Clone, Default)]
pub struct MemoryGpu(Arc<Inner>);

/// Work that the GPU was given.
pub struct Task {
    gpu: MemoryGpu,
    number: u64,
}

impl MemoryGpu {
    /// A GPU that does at once what it is given.
    pub fn new() -> Self {
        Self::default()
    }

    /// A GPU with so many bytes of memory, at least [`HEAP`].
    pub fn with_heap(bytes: u64) -> Self {
        let gpu = Self::default();
        gpu.lock().more = bytes.saturating_sub(HEAP);
        gpu
    }

    pub(super) fn heap(&self) -> u64 {
        HEAP + self.lock().more
    }

    /// Lets nothing that is given from now on be done before [`Self::go_on`].
    pub fn hold(&self) {
        self.lock().held = true;
    }

    /// Does everything that was given.
    pub fn go_on(&self) {
        let mut state = self.lock();
        state.held = false;
        while let Some(action) = state.waiting.pop_front() {
            action();
            state.done += 1;
        }
        drop(state);
        self.0.changed.notify_all();
    }

    /// Fails everything from now on.
    pub fn lose(&self) {
        self.lock().lost = true;
        self.0.changed.notify_all();
    }

    /// Has the call after `calls` others fail.
    pub fn fail_after(&self, calls: usize, status: Status) {
        let mut state = self.lock();
        state.calls.clear();
        state.fault = Some((calls, status));
    }

    /// Calls since the last [`Self::fail_after`].
    pub fn calls(&self) -> Vec<Call> {
        self.lock().calls.clone()
    }

    /// Pieces of memory that there are.
    pub fn blobs(&self) -> usize {
        self.lock().blobs
    }

    /// Waits until there is no memory left; `false` after `timeout`.
    #[must_use]
    pub fn wait_empty(&self, timeout: Duration) -> bool {
        self.wait(timeout, |state| state.blobs == 0)
    }

    /// Waits until so much work was given and not done; `false` after `timeout`.
    #[must_use]
    pub fn wait_given(&self, count: u64, timeout: Duration) -> bool {
        self.wait(timeout, |state| state.given - state.done >= count)
    }

    pub(super) fn is_lost(&self) -> bool {
        self.lock().lost
    }

    /// Notes a call, and fails if it is to.
    pub(super) fn call(&self, call: Call) -> Result<(), Status> {
        let mut state = self.lock();
        let number = state.calls.len();
        state.calls.push(call);
        match state.fault {
            _ if state.lost => Err(Status::DeviceLost),
            Some((faulty, status)) if faulty == number => Err(status),
            _ => Ok(()),
        }
    }

    pub(super) fn take(&self, bytes: u64) -> Result<(), Status> {
        let mut state = self.lock();
        if state.bytes + bytes > HEAP + state.more {
            return Err(Status::OutOfDeviceMemory);
        }
        state.bytes += bytes;
        state.blobs += 1;
        Ok(())
    }

    pub(super) fn give_back(&self, bytes: u64) {
        let mut state = self.lock();
        state.bytes -= bytes;
        state.blobs -= 1;
        drop(state);
        self.0.changed.notify_all();
    }

    pub(super) fn give(&self, action: impl FnOnce() + Send + 'static) -> Task {
        let mut state = self.lock();
        state.given += 1;
        let number = state.given;
        if state.held {
            state.waiting.push_back(Box::new(action));
        } else {
            action();
            state.done += 1;
        }
        drop(state);
        self.0.changed.notify_all();
        Task {
            gpu: self.clone(),
            number,
        }
    }

    fn wait(&self, timeout: Duration, met: impl Fn(&State) -> bool) -> bool {
        let deadline = Instant::now() + timeout;
        let mut state = self.lock();
        while !met(&state) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self
                .0
                .changed
                .wait_timeout(state, left)
                .map_or_else(|poison| poison.into_inner().0, |(state, _)| state);
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Task {
    pub(super) fn wait_done(&self, timeout: Duration) -> Result<(), WorkError> {
        let number = self.number;
        let over = |state: &State| state.lost || state.done >= number;
        if !self.gpu.wait(timeout, over) {
            return Err(WorkError::NotYet);
        }
        self.gpu.call(Call::Wait).map_err(WorkError::Failed)
    }
}
