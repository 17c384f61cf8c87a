//! The rings of a connection, shared by the thread that serves the VMM and the device thread.
//!
//! One lock covers the rings, the guest memory they lie in and the question whether the device
//! runs. The device thread holds it to take or return a chain and never while it waits for
//! anybody, so that the VMM's requests are answered at once.

use std::fs::File;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;
use tracing::{debug, warn};
use virtio_queue::DescriptorChain;

use super::back_channel::BackChannel;
use super::features;
use super::ring::{Ring, Used};
use crate::memory::GuestMemory;
use crate::reactor::{Reactor, Wake};
use crate::snapshot::RingState;

/// Control and cursor queue, VIRTIO 1.4 section 5.7.2.
pub const NUM_QUEUES: usize = 2;
/// The control queue. Its state decides whether the device runs.
pub const CONTROL: usize = 0;

/// What the device thread has to know when it wakes up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Epoch {
    /// Grows with each reset of the device. Chains of an earlier life are void.
    pub life: u64,
    /// Grows each time that a ring starts to run.
    pub run: u64,
    /// Feature bits the driver accepted.
    pub features: u64,
    /// Grows each time that a front-end hangs up.
    pub connection: u64,
}

struct State {
    rings: Vec<Ring>,
    memory: GuestMemory,
    epoch: Epoch,
    running: bool,
    reset: bool,
}

/// See the module's description.
pub struct Rings {
    state: Mutex<State>,
    reactor: Arc<Reactor>,
    wake: Wake,
    channel: Arc<BackChannel>,
}

impl Rings {
    /// Stopped rings without memory. Kicks arrive at `reactor` with the ring's index as token.
    ///
    /// # Errors
    /// The error of eventfd2 or of the queue.
    pub fn new(reactor: Arc<Reactor>, channel: Arc<BackChannel>) -> std::io::Result<Self> {
        let rings = (0..NUM_QUEUES)
            .map(|_| Ring::new())
            .collect::<Result<Vec<_>, _>>()
            .map_err(std::io::Error::other)?;
        let state = State {
            rings,
            memory: GuestMemory::default(),
            epoch: Epoch::default(),
            running: false,
            reset: false,
        };
        Ok(Self {
            state: Mutex::new(state),
            reactor,
            wake: Wake::new()?,
            channel,
        })
    }

    /// Readable when there is something to [`Rings::follow`].
    pub fn wake(&self) -> &Wake {
        &self.wake
    }

    /// The present epoch, to which the device thread turns. If the device runs, requests go to
    /// the VMM from now on, and not sooner: one that is left from an earlier driver would be
    /// carried out for the present one.
    pub fn follow(&self) -> Epoch {
        let state = self.lock();
        self.channel.set_running(state.running);
        state.epoch
    }

    /// Whether the device runs.
    pub fn is_running(&self) -> bool {
        self.lock().running
    }

    /// Guest RAM.
    pub fn memory(&self) -> GuestMemory {
        GuestMemory::clone(&self.lock().memory)
    }

    /// The queues and the features that the driver accepted, to be saved.
    pub fn save(&self) -> (Vec<RingState>, u64) {
        let state = self.lock();
        let rings = state.rings.iter().map(Ring::save).collect();
        (rings, state.epoch.features)
    }

    /// Becomes what was saved, unless the device runs. The next start is no reset, but for a
    /// driver that starts at 0. Returns the life that goes on.
    pub fn load(&self, rings: &[RingState], features: u64) -> Option<u64> {
        let mut state = self.lock();
        if state.running {
            return None;
        }
        for (ring, saved) in state.rings.iter_mut().zip(rings) {
            ring.load(saved);
            ring.set_event_idx(features & features::EVENT_IDX != 0);
        }
        state.epoch.life += 1;
        state.epoch.features = features;
        state.reset = false;
        Some(state.epoch.life)
    }

    /// Replaces guest RAM.
    pub fn set_memory(&self, memory: GuestMemory) {
        self.lock().memory = memory;
    }

    /// Takes the feature bits the driver accepted.
    pub fn set_features(&self, features: u64, event_idx: bool, enable: bool) {
        let mut state = self.lock();
        state.epoch.features = features;
        for ring in &mut state.rings {
            ring.set_event_idx(event_idx);
            if enable {
                ring.set_enabled(true);
            }
        }
        self.update(&mut state);
    }

    /// Changes a ring; `false` for an index that does not exist.
    #[must_use]
    pub fn configure(&self, index: usize, change: impl FnOnce(&mut Ring)) -> bool {
        self.lock().rings.get_mut(index).map(change).is_some()
    }

    /// Replaces the kick fd of a ring, which starts it, or stops it without one.
    ///
    /// # Errors
    /// [`Errno::INVAL`] for an index that does not exist, or the error of epoll_ctl.
    pub fn set_kick(&self, index: usize, kick: Option<File>) -> Result<(), Errno> {
        let mut state = self.lock();
        let ring = state.rings.get_mut(index).ok_or(Errno::INVAL)?;
        let stops = kick.is_none();
        if let Some(kick) = &kick {
            self.reactor
                .add(kick, u64::try_from(index).unwrap_or(u64::MAX))?;
        }
        if let Some(old) = ring.set_kick(kick) {
            self.reactor.remove(&old);
            // A kick on the old one may not have been seen.
            state.epoch.run += 1;
        }
        if stops {
            self.pause(&mut state);
        }
        self.update(&mut state);
        Ok(())
    }

    /// Enables or disables a ring. When this returns, a disabled ring is not touched any more
    /// and no new request goes to the VMM.
    ///
    /// # Errors
    /// [`Errno::INVAL`] for an index that does not exist.
    pub fn set_enabled(&self, index: usize, enabled: bool) -> Result<(), Errno> {
        let mut state = self.lock();
        state
            .rings
            .get_mut(index)
            .ok_or(Errno::INVAL)?
            .set_enabled(enabled);
        if !enabled {
            self.pause(&mut state);
        }
        self.update(&mut state);
        Ok(())
    }

    /// Stops a ring and returns its position. The promise is that of [`Rings::set_enabled`].
    ///
    /// # Errors
    /// [`Errno::INVAL`] for an index that does not exist.
    pub fn stop(&self, index: usize) -> Result<u16, Errno> {
        let mut state = self.lock();
        let ring = state.rings.get_mut(index).ok_or(Errno::INVAL)?;
        if let Some(kick) = ring.set_kick(None) {
            self.reactor.remove(&kick);
        }
        ring.set_call(None);
        let position = ring.position();
        self.pause(&mut state);
        Ok(position)
    }

    /// Stops every ring and voids what the driver had set up (RESET_DEVICE).
    pub fn reset(&self) {
        let mut state = self.lock();
        for ring in &mut state.rings {
            ring.set_enabled(false);
        }
        state.reset = true;
        self.pause(&mut state);
    }

    /// The front-end has hung up: forgets it with all that it set up. Returns the connection that
    /// begins, which the device thread has followed once it is in that epoch.
    ///
    /// # Errors
    /// Never; the type is virtio-queue's.
    pub fn hang_up(&self) -> std::io::Result<u64> {
        let mut state = self.lock();
        self.pause(&mut state);
        for ring in &mut state.rings {
            if let Some(kick) = ring.kick() {
                self.reactor.remove(kick);
            }
            *ring = Ring::new().map_err(std::io::Error::other)?;
        }
        state.memory = GuestMemory::default();
        state.reset = true;
        state.epoch.life += 1;
        state.epoch.features = 0;
        state.epoch.connection += 1;
        self.wake.send();
        Ok(state.epoch.connection)
    }

    /// Takes the next chain of a ring, with the memory it lies in; none once `epoch` is over.
    pub fn pop(
        &self,
        index: usize,
        epoch: Epoch,
    ) -> Option<(DescriptorChain<GuestMemory>, GuestMemory)> {
        let mut state = self.lock();
        if !state.running || state.epoch != epoch {
            return None;
        }
        let memory = GuestMemory::clone(&state.memory);
        let chain = state.rings.get_mut(index)?.pop(&memory)?;
        Some((chain, memory))
    }

    /// Does `work`, which touches guest memory for a chain of a ring, unless the ring was stopped
    /// since it was taken in `epoch`. It cannot be stopped meanwhile.
    pub fn while_running<T>(
        &self,
        index: usize,
        epoch: Epoch,
        work: impl FnOnce() -> T,
    ) -> Option<T> {
        let state = self.lock();
        let active = state.rings.get(index).is_some_and(Ring::is_active);
        (active && state.running && state.epoch == epoch).then(work)
    }

    /// Returns chains that were taken in `life`; those of an earlier driver are dropped. A queue
    /// can be older than the device's life: a pause before the first control chain looks like a
    /// new driver on the control queue, and not on the other.
    pub fn push(&self, index: usize, life: u64, used: &[Used]) {
        let state = &mut *self.lock();
        if used.is_empty() {
            return;
        }
        if let Some(ring) = state.rings.get_mut(index)
            && ring.knows(life)
        {
            ring.push(&state.memory, used);
        }
    }

    /// Returns what waited while the rings were stopped, and signals every driver queue once.
    pub fn flush(&self) {
        let state = &mut *self.lock();
        for ring in state.rings.iter_mut().filter(|ring| ring.is_active()) {
            ring.flush(&state.memory);
        }
    }

    /// Takes the kicks of a ring and asks the driver for no more.
    pub fn begin(&self, index: usize) {
        let state = &mut *self.lock();
        if let Some(ring) = state.rings.get_mut(index) {
            if !ring.drain_kick()
                && let Some(kick) = ring.kick()
            {
                warn!(index, "kick fd has hung up");
                self.reactor.remove(kick);
            }
            ring.disable_kicks(&state.memory);
        }
    }

    /// Asks for kicks again; `true` if the ring has more chains for [`Rings::pop`].
    pub fn finish(&self, index: usize, epoch: Epoch) -> bool {
        let state = &mut *self.lock();
        if !state.running || state.epoch != epoch {
            return false;
        }
        let memory = &state.memory;
        let ring = state.rings.get_mut(index);
        ring.is_some_and(|ring| ring.enable_kicks(memory))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pause(&self, state: &mut State) {
        if state.running {
            state.running = false;
            self.channel.set_running(false);
            debug!(run = state.epoch.run, "device is stopped");
        }
    }

    /// Brings rings that became active into the state in which the device thread may use them.
    fn update(&self, state: &mut State) {
        let Some(control) = state.rings.get(CONTROL) else {
            return;
        };
        let mut started = false;
        if !state.running && control.is_active() {
            let is_new = std::mem::take(&mut state.reset) || state.epoch.life == 0;
            if is_new || control.is_reset(&state.memory) {
                state.epoch.life += 1;
                if is_new {
                    let life = state.epoch.life;
                    state.rings.iter_mut().for_each(|ring| ring.forget(life));
                }
                debug!(life = state.epoch.life, "driver starts the device");
            } else {
                debug!(run = state.epoch.run, "device goes on");
            }
            state.running = true;
            started = true;
        }
        for ring in &mut state.rings {
            started |= ring.activate(&state.memory, state.epoch.life);
        }
        if started {
            state.epoch.run += 1;
        }
        self.wake.send();
    }
}

#[cfg(test)]
mod tests;
