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
mod tests {
    use super::*;
    use crate::memory::Ram;
    use rustix::io::fcntl_dupfd_cloexec;
    use vm_memory::{Address, Bytes, GuestAddress};

    const AVAIL: GuestAddress = GuestAddress(0x1000);
    const USED: GuestAddress = GuestAddress(0x2000);

    fn rings() -> Rings {
        let reactor = Arc::new(Reactor::new().unwrap());
        let rings = Rings::new(reactor, Arc::new(BackChannel::default())).unwrap();
        let memory = Ram::from_ranges(&[(GuestAddress(0), 0x8000)]).unwrap();
        rings.set_memory(Arc::new(memory));
        rings
    }

    /// Starts the control queue at `base` with so many chains available, as the VMM does.
    fn start(rings: &Rings, base: u16, available: u16) -> Epoch {
        set_up(rings, CONTROL, base, available);
        rings.set_enabled(CONTROL, true).unwrap();
        rings.follow()
    }

    /// All but the last step of a queue's start.
    fn set_up(rings: &Rings, index: usize, base: u16, available: u16) {
        let memory = GuestMemory::clone(&rings.lock().memory);
        let [desc, avail, used] = parts(index);
        memory.write_obj(available, avail.unchecked_add(2)).unwrap();
        assert!(rings.configure(index, |ring| {
            ring.set_base(base);
            ring.set_size(16);
            ring.set_addresses(Some([desc, avail, used]));
        }));
        let kick = Wake::new().unwrap();
        let kick = File::from(fcntl_dupfd_cloexec(&kick, 0).unwrap());
        rings.set_kick(index, Some(kick)).unwrap();
    }

    /// Descriptors, available and used ring of a queue.
    fn parts(index: usize) -> [GuestAddress; 3] {
        let offset = 0x4000 * u64::try_from(index).unwrap();
        [GuestAddress(0), AVAIL, USED].map(|part| part.unchecked_add(offset))
    }

    fn returned(rings: &Rings) -> u16 {
        returned_on(rings, CONTROL)
    }

    fn returned_on(rings: &Rings, index: usize) -> u16 {
        let memory = GuestMemory::clone(&rings.lock().memory);
        let [_, _, used] = parts(index);
        memory.read_obj(used.unchecked_add(2)).unwrap()
    }

    /// The cursor queue.
    const OTHER: usize = 1;

    const CHAIN: Used = Used { head: 0, len: 0 };

    #[test]
    fn chain_of_an_earlier_life_is_not_returned() {
        let rings = rings();
        let before = start(&rings, 0, 1);
        assert!(rings.pop(CONTROL, before).is_some());
        rings.stop(CONTROL).unwrap();
        let after = start(&rings, 0, 0);
        assert_eq!(after.life, before.life + 1);

        rings.push(CONTROL, before.life, &[CHAIN]);

        assert_eq!(returned(&rings), 0);
    }

    #[test]
    fn chain_finished_during_a_pause_is_returned_after_it() {
        let rings = rings();
        let before = start(&rings, 0, 1);
        assert!(rings.pop(CONTROL, before).is_some());
        let base = rings.stop(CONTROL).unwrap();
        rings.push(CONTROL, before.life, &[CHAIN]);
        let after = start(&rings, base, 1);
        assert_eq!((after.life, after.run), (before.life, before.run + 1));
        assert_eq!(returned(&rings), 0);

        rings.flush();

        assert_eq!(returned(&rings), 1);
    }

    #[derive(Clone, Copy, Debug)]
    enum Order {
        /// QEMU tells all of both queues before it enables either.
        Together,
        /// crosvm starts one after the other.
        InTurn,
    }

    /// Both orders, and whether the chain is done while the queues are stopped or later.
    const CASES: [(Order, bool); 4] = [
        (Order::Together, true),
        (Order::Together, false),
        (Order::InTurn, true),
        (Order::InTurn, false),
    ];

    fn start_both(rings: &Rings, order: Order, bases: [u16; 2], available: [u16; 2]) -> Epoch {
        let enable = |index| rings.set_enabled(index, true).unwrap();
        for index in [CONTROL, OTHER] {
            set_up(rings, index, bases[index], available[index]);
            if matches!(order, Order::InTurn) {
                enable(index);
            }
        }
        [CONTROL, OTHER].into_iter().for_each(enable);
        rings.follow()
    }

    fn stop_both(rings: &Rings) -> [u16; 2] {
        [CONTROL, OTHER].map(|index| {
            rings.set_enabled(index, false).unwrap();
            rings.stop(index).unwrap()
        })
    }

    #[test]
    fn pause_before_the_first_control_chain_loses_no_chain_of_the_other_queue() {
        for (order, stopped) in CASES {
            let rings = rings();
            let before = start_both(&rings, order, [0, 0], [0, 1]);
            assert!(rings.pop(OTHER, before).is_some());
            let bases = stop_both(&rings);
            if stopped {
                rings.push(OTHER, before.life, &[CHAIN]);
            }

            start_both(&rings, order, bases, [1, 1]);
            if !stopped {
                rings.push(OTHER, before.life, &[CHAIN]);
            }
            rings.flush();

            assert_eq!(returned_on(&rings, OTHER), 1, "{order:?} {stopped}");
        }
    }

    #[test]
    fn new_driver_gets_no_chain_of_the_other_queue_from_before() {
        for (order, stopped) in CASES {
            let rings = rings();
            let before = start_both(&rings, order, [0, 0], [0, 1]);
            assert!(rings.pop(OTHER, before).is_some());
            stop_both(&rings);
            if stopped {
                rings.push(OTHER, before.life, &[CHAIN]);
            }

            let after = start_both(&rings, order, [0, 0], [0, 0]);
            if !stopped {
                rings.push(OTHER, before.life, &[CHAIN]);
            }
            rings.flush();

            assert_eq!(after.life, before.life + 1);
            assert_eq!(returned_on(&rings, OTHER), 0, "{order:?} {stopped}");
        }
    }

    #[test]
    fn nothing_is_taken_or_touched_in_an_epoch_that_is_over() {
        let rings = rings();
        let before = start(&rings, 0, 2);
        let base = rings.stop(CONTROL).unwrap();
        assert!(rings.pop(CONTROL, before).is_none());
        let after = start(&rings, base, 2);

        assert!(rings.pop(CONTROL, before).is_none());
        assert_eq!(rings.while_running(CONTROL, before, || ()), None);
        assert!(!rings.finish(CONTROL, before));
        assert!(rings.pop(CONTROL, after).is_some());
    }

    #[test]
    fn reset_ends_a_life_whatever_the_position() {
        let rings = rings();
        let before = start(&rings, 0, 3);
        assert!(rings.pop(CONTROL, before).is_some());
        rings.reset();
        assert_eq!(start(&rings, 1, 3).life, before.life + 1);
    }
}
