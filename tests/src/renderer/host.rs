//! The test's view of the renderer.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use coherd::renderer::{FenceSink, RendererError};
use coherd::serve::RendererFactory;
use coherd_protocol::gpu::header::{Fence, Timeline};
use rustix::io::Errno;

use super::operation::Operation;
use super::recipe::Memory;
use super::texture::Texture;
use super::{CAPSET, MemfdRenderer};
use crate::frontend::{Deadline, EventFd};

/// How long [`Operation::Hold`] waits for the test.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) contexts: BTreeSet<u32>,
    pub(super) blobs: BTreeMap<u32, Memory>,
    pub(super) textures: BTreeMap<u32, Texture>,
    pub(super) attached: BTreeSet<(u32, u32)>,
    /// Contexts whose worker has died.
    pub(super) lost: BTreeSet<u32>,
    /// Fences that were asked for and not signalled, in order.
    fences: Vec<Fence>,
    /// The latest fence that was signalled on each timeline.
    signalled: BTreeMap<Timeline, u64>,
    /// What the next blob exports in place of a file of its own.
    pub(super) lent: Option<OwnedFd>,
    /// The next fence is that of this label.
    label: Option<u32>,
    labelled: BTreeMap<u32, Fence>,
    /// Whether work is done as soon as it was asked for.
    instant: bool,
    sink: Option<FenceSink>,
    holding: bool,
    complaints: Vec<String>,
}

impl State {
    pub(super) fn has(&self, resource_id: u32) -> bool {
        self.blobs.contains_key(&resource_id) || self.textures.contains_key(&resource_id)
    }
}

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    changed: Condvar,
    losses: EventFd,
}

/// The test's view of the renderer; clones are handles to the same one.
#[derive(Clone, Debug)]
pub struct Host(Arc<Inner>);

impl Host {
    /// The view of a renderer to be made.
    ///
    /// # Errors
    /// The error of eventfd2.
    pub fn new() -> Result<Self, Errno> {
        Ok(Self(Arc::new(Inner {
            state: Mutex::default(),
            changed: Condvar::new(),
            losses: EventFd::new()?,
        })))
    }

    /// Makes the renderer that this handle belongs to.
    pub fn factory(&self) -> RendererFactory {
        self.factory_of(CAPSET)
    }

    /// Makes the renderer that this handle belongs to, with another capset.
    pub fn factory_of(&self, capset_id: u32) -> RendererFactory {
        let host = self.clone();
        Box::new(move |sink| {
            host.change(|state| state.sink = Some(sink));
            Ok(Box::new(MemfdRenderer::new(host, capset_id)))
        })
    }

    /// Bytes of a blob as "the GPU" sees them; `None` if there are not so many.
    pub fn read(&self, resource_id: u32, offset: u64, len: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; len];
        let state = self.lock();
        let memory = state.blobs.get(&resource_id)?;
        memory.read(offset, &mut bytes).then_some(bytes)
    }

    /// "The GPU" writes to a blob; `false` if it is not that large.
    #[must_use]
    pub fn write(&self, resource_id: u32, offset: u64, bytes: &[u8]) -> bool {
        self.lock()
            .blobs
            .get(&resource_id)
            .is_some_and(|memory| memory.write(offset, bytes))
    }

    /// Waits until the daemon has asked for `fence`; `false` after the deadline.
    ///
    /// Fences have the device's numbers: from 1, in the order of the commands that ask for one.
    /// Those of a driver's [`crate::driver::Gpu::next_fence`] are the same until it is replaced.
    #[must_use]
    pub fn wait_fence(&self, fence: Fence, deadline: Deadline) -> bool {
        self.wait(deadline, |state| state.fences.contains(&fence))
    }

    /// Fences that were asked for and not signalled, in order.
    pub fn fences(&self) -> Vec<Fence> {
        self.lock().fences.clone()
    }

    /// Says that `fence` and the earlier ones of its timeline are done.
    pub fn signal(&self, fence: Fence) {
        let sink = self.change(|state| {
            state
                .fences
                .retain(|other| other.timeline != fence.timeline || other.id > fence.id);
            let latest = state.signalled.entry(fence.timeline).or_default();
            *latest = fence.id.max(*latest);
            state.sink.clone()
        });
        if let Some(sink) = sink {
            sink.signal(fence);
        }
    }

    /// Whether the fence that came with [`Operation::Label`] was signalled, or a later one of its
    /// timeline.
    pub fn is_signalled(&self, label: u32) -> bool {
        let state = self.lock();
        let fence = state.labelled.get(&label);
        fence.is_some_and(|fence| state.signalled.get(&fence.timeline) >= Some(&fence.id))
    }

    /// Says that every fence that was asked for is done.
    pub fn signal_all(&self) {
        let fences = self.lock().fences.clone();
        fences.into_iter().for_each(|fence| self.signal(fence));
    }

    /// Chooses whether fences are done as soon as they were asked for, from the pending ones on,
    /// or when the test says so.
    pub fn set_instant(&self, instant: bool) {
        self.change(|state| state.instant = instant);
        if instant {
            self.signal_all();
        }
    }

    /// Notes that the daemon asked for `fence`.
    pub(super) fn ask(&self, fence: Fence) {
        let instant = self.change(|state| {
            state.fences.push(fence);
            if let Some(label) = state.label.take() {
                state.labelled.insert(label, fence);
            }
            state.instant
        });
        if instant {
            self.signal_all();
        }
    }

    /// Waits until [`Operation::Hold`] is being executed; `false` after the deadline.
    #[must_use]
    pub fn wait_holding(&self, deadline: Deadline) -> bool {
        self.wait(deadline, |state| state.holding)
    }

    /// Lets [`Operation::Hold`] finish.
    pub fn release(&self) {
        self.change(|state| state.holding = false);
    }

    /// The worker of a context dies, if there is such a context.
    ///
    /// # Errors
    /// What the eventfd reports.
    pub fn lose(&self, ctx_id: u32) -> Result<(), Errno> {
        self.change(|state| {
            if state.contexts.contains(&ctx_id) && state.lost.insert(ctx_id) {
                self.0.losses.signal()?;
            }
            Ok(())
        })
    }

    /// Has the next blob export this dma-buf, which is not what "the GPU" sees of it.
    pub fn lend(&self, dma_buf: OwnedFd) {
        self.change(|state| state.lent = Some(dma_buf));
    }

    /// Number of the file behind a blob.
    pub fn inode(&self, resource_id: u32) -> Option<u64> {
        self.lock().blobs.get(&resource_id)?.inode()
    }

    /// Contexts that exist.
    pub fn contexts(&self) -> Vec<u32> {
        self.lock().contexts.iter().copied().collect()
    }

    /// Blobs that exist.
    pub fn blobs(&self) -> Vec<u32> {
        self.lock().blobs.keys().copied().collect()
    }

    /// Textures that exist.
    pub fn textures(&self) -> Vec<u32> {
        self.lock().textures.keys().copied().collect()
    }

    /// Whether a context may use a resource.
    pub fn is_attached(&self, ctx_id: u32, resource_id: u32) -> bool {
        self.lock().attached.contains(&(ctx_id, resource_id))
    }

    /// Contexts, each with a blob that it may use.
    pub fn attached(&self) -> BTreeSet<(u32, u32)> {
        self.lock().attached.clone()
    }

    /// What the daemon did wrong.
    pub fn complaints(&self) -> Vec<String> {
        self.lock().complaints.clone()
    }

    /// Readable while a context is lost.
    pub(super) fn losses(&self) -> BorrowedFd<'_> {
        self.0.losses.as_fd()
    }

    pub(super) fn lost(&self) -> Vec<u32> {
        self.lock().lost.iter().copied().collect()
    }

    /// Forgets that a context was lost.
    pub(super) fn forget_loss(&self, ctx_id: u32) {
        let forgotten = self.change(|state| {
            state.lost.remove(&ctx_id);
            match state.lost.is_empty() {
                true => self.0.losses.take().map(drop),
                false => Ok(()),
            }
        });
        self.expect(forgotten.is_ok(), &"the eventfd of losses fails");
    }

    pub(super) fn execute(&self, operation: Operation) -> Result<(), RendererError> {
        let missing = || RendererError::Failed("no such blob".to_owned());
        match operation {
            Operation::Fill { resource_id, byte } => {
                let size = self.size(resource_id).ok_or_else(missing)?;
                let filled = self.write(resource_id, 0, &vec![byte; size]);
                filled.then_some(()).ok_or_else(missing)
            }
            Operation::Copy { from, to } => {
                let size = self.size(from).ok_or_else(missing)?;
                let bytes = self.read(from, 0, size).ok_or_else(missing)?;
                self.write(to, 0, &bytes).then_some(()).ok_or_else(missing)
            }
            Operation::Hold => {
                self.change(|state| state.holding = true);
                let released = self.wait(Deadline::after(PATIENCE), |state| !state.holding);
                self.expect(released, &"the test never let go");
                Ok(())
            }
            Operation::Label(label) => {
                self.change(|state| state.label = Some(label));
                Ok(())
            }
            Operation::Fail => Err(RendererError::Failed("as asked".to_owned())),
        }
    }

    pub(super) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.lock());
        self.0.changed.notify_all();
        result
    }

    /// Notes a mistake of the daemon unless `right`.
    pub(super) fn expect(&self, right: bool, what: &dyn fmt::Display) {
        if !right {
            self.change(|state| state.complaints.push(what.to_string()));
        }
    }

    fn size(&self, resource_id: u32) -> Option<usize> {
        let size = self.lock().blobs.get(&resource_id)?.size;
        usize::try_from(size).ok()
    }

    fn wait(&self, deadline: Deadline, done: impl Fn(&State) -> bool) -> bool {
        let mut state = self.lock();
        while !done(&state) {
            if deadline.passed() {
                return false;
            }
            state = self
                .0
                .changed
                .wait_timeout(state, deadline.remaining())
                .map_or_else(|poison| poison.into_inner().0, |(state, _)| state);
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
