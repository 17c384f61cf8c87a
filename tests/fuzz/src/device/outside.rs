//! What is outside the device thread: the VMM with its rings and its window.
//!
//! The device thread calls it for a map, an unmap or the renderer's work. Each call may first do
//! what the VMM's thread could do at that moment; a plan from the input says what.

use std::collections::VecDeque;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, MutexGuard};

use coherd::memory::GuestMemory;
use coherd::vhost_user::back_channel::BackChannelError;
use coherd::vhost_user::features;
use coherd::vhost_user::rings::{NUM_QUEUES, Rings};
use coherd::window::Vmm;
use coherd_protocol::gpu::Features;
use coherd_tests::frontend::{EventFd, RingLayout};
use vm_memory::GuestMemoryMmap;

use crate::vmm::{Flavour, VmmWindow};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Run {
    Running,
    Paused([u16; NUM_QUEUES]),
    Reset,
}

struct State {
    run: Run,
    /// Drivers that have started.
    lives: u64,
    /// Whether the device thread knows that the device runs.
    followed: bool,
    window: VmmWindow,
    plan: VecDeque<u8>,
}

/// See the module's description.
pub struct Outside {
    rings: Arc<Rings>,
    guest_memory: GuestMemoryMmap,
    /// The same as the device has it mapped.
    memory: GuestMemory,
    /// The same less the region that comes and goes.
    less_memory: GuestMemory,
    layouts: [RingLayout; NUM_QUEUES],
    event_idx: bool,
    kicks: [EventFd; NUM_QUEUES],
    calls: [EventFd; NUM_QUEUES],
    state: Mutex<State>,
}

/// What an [`Outside`] is made of.
pub struct Parts {
    pub flavour: Flavour,
    pub rings: Arc<Rings>,
    pub guest_memory: GuestMemoryMmap,
    pub memory: GuestMemory,
    pub less_memory: GuestMemory,
    pub layouts: [RingLayout; NUM_QUEUES],
    pub event_idx: bool,
    pub plan: Vec<u8>,
}

impl Outside {
    /// A VMM whose guest has not started its driver.
    pub fn new(parts: Parts) -> Self {
        let event = || EventFd::new().expect("an eventfd");
        Self {
            rings: parts.rings,
            guest_memory: parts.guest_memory,
            memory: parts.memory,
            less_memory: parts.less_memory,
            layouts: parts.layouts,
            event_idx: parts.event_idx,
            kicks: [event(), event()],
            calls: [event(), event()],
            state: Mutex::new(State {
                run: Run::Reset,
                lives: 0,
                followed: false,
                window: VmmWindow::new(parts.flavour),
                plan: parts.plan.into(),
            }),
        }
    }

    /// Drivers that have started so far.
    pub fn lives(&self) -> u64 {
        self.lock().lives
    }

    /// Guest RAM.
    pub fn memory(&self) -> &GuestMemoryMmap {
        &self.guest_memory
    }

    /// The guest rings a doorbell.
    pub fn kick(&self, queue: usize) {
        if let Some(kick) = self.kicks.get(queue) {
            // A counter at its maximum is a kick too.
            let _ = kick.signal();
        }
    }

    /// The device thread looks at the rings.
    pub fn follow(&self) {
        let mut state = self.lock();
        state.followed = state.run == Run::Running;
    }

    /// Replaces the memory table.
    pub fn set_memory(&self, less: bool) {
        let memory = if less {
            &self.less_memory
        } else {
            &self.memory
        };
        self.rings.set_memory(GuestMemory::clone(memory));
    }

    /// Takes RAM away as a whole.
    pub fn take_memory(&self) {
        self.rings.set_memory(GuestMemory::default());
    }

    /// Makes the device run, with a new driver if it was reset.
    pub fn run(&self) {
        let mut state = self.lock();
        let bases = match state.run {
            Run::Running => return,
            Run::Paused(bases) => bases,
            Run::Reset => {
                state.lives += 1;
                for layout in &self.layouts {
                    layout.clear(&self.memory).expect("rings in guest RAM");
                }
                [0; NUM_QUEUES]
            }
        };
        state.run = Run::Running;
        self.start(bases);
    }

    fn start(&self, bases: [u16; NUM_QUEUES]) {
        let bits = features::virtio(Features::all());
        self.rings.set_features(bits, self.event_idx, false);
        self.rings.set_memory(GuestMemory::clone(&self.memory));
        for (index, (layout, base)) in self.layouts.iter().zip(bases).enumerate() {
            let configured = self.rings.configure(index, |ring| {
                ring.set_base(base);
                ring.set_size(layout.size.into());
                ring.set_addresses(Some([layout.desc, layout.avail, layout.used]));
            });
            assert!(configured);
            let kick = self.kicks.get(index).map(file);
            self.rings.set_kick(index, kick).expect("a kick fd");
            let call = self.calls.get(index).map(file);
            assert!(self.rings.configure(index, |ring| ring.set_call(call)));
        }
        for index in 0..NUM_QUEUES {
            self.rings.set_enabled(index, true).expect("a queue");
        }
    }

    /// Pauses the device.
    pub fn pause(&self) {
        let mut state = self.lock();
        if state.run == Run::Running {
            state.run = Run::Paused(self.stop());
            state.followed = false;
        }
    }

    /// Resets the device; with `request` by RESET_DEVICE.
    pub fn reset(&self, request: bool) {
        let mut state = self.lock();
        if request {
            self.rings.reset();
        }
        self.stop();
        state.run = Run::Reset;
        state.followed = false;
        state.window.reset();
    }

    fn stop(&self) -> [u16; NUM_QUEUES] {
        for index in 0..NUM_QUEUES {
            self.rings.set_enabled(index, false).expect("a queue");
        }
        [0, 1].map(|index| self.rings.stop(index).expect("a queue"))
    }

    /// Does what the plan says for this moment.
    pub fn interfere(&self) {
        match self.next() {
            1 => self.pause(),
            2 => {
                self.pause();
                self.run();
            }
            3 => self.reset(false),
            4 => {
                self.reset(true);
                self.run();
            }
            5 => self.set_memory(true),
            _ => {}
        }
    }

    /// Checks that a reset has left what the VMM leaves.
    pub fn expect_window_reset(&self) {
        let state = self.lock();
        assert!(!state.window.unmaps_on_reset() || state.window.is_empty());
    }

    fn next(&self) -> u8 {
        self.lock().plan.pop_front().unwrap_or(0)
    }

    /// Serves a request of the device thread, unless the device was stopped before.
    fn serve(
        &self,
        change: impl FnOnce(&mut VmmWindow, u8) -> Result<(), BackChannelError>,
    ) -> Result<(), BackChannelError> {
        let before = self.lock().followed;
        self.interfere();
        let fate = self.next();
        let mut state = self.lock();
        if !before || !state.followed {
            return Err(BackChannelError::Stopped);
        }
        change(&mut state.window, fate)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic goes on")
    }
}

impl Vmm for Outside {
    fn map(
        &self,
        fd: BorrowedFd<'_>,
        fd_offset: u64,
        shm_offset: u64,
        len: u64,
    ) -> Result<(), BackChannelError> {
        self.serve(|window, fate| window.map(fd, [fd_offset, shm_offset, len], fate))
    }

    fn unmap(&self, shm_offset: u64, len: u64) -> Result<(), BackChannelError> {
        self.serve(|window, fate| window.unmap(shm_offset, len, fate))
    }

    fn unmaps_on_reset(&self) -> bool {
        self.lock().window.unmaps_on_reset()
    }
}

fn file(event: &EventFd) -> File {
    let fd = event.as_fd().try_clone_to_owned();
    File::from(fd.expect("a duplicate of an eventfd"))
}
