//! A guest, a VMM and the device thread, in one thread.

use std::sync::Arc;

use arbitrary::{Result, Unstructured};
use coherd::device::config_space::ConfigSpace;
use coherd::device::quota::{Quota, Quotas, Scope};
use coherd::memory::{GuestMemory, Ram};
use coherd::reactor::Reactor;
use coherd::vhost_user::back_channel::BackChannel;
use coherd::vhost_user::config_events::ConfigEvents;
use coherd::vhost_user::rings::{NUM_QUEUES, Rings};
use coherd::window::HostWindow;
use coherd_blob::Window;
use coherd_protocol::gpu::Config;
use coherd_tests::frontend::{GuestRam, RING_BYTES, RamRange, RingLayout};
use coherd_tests::hostile::{Guest, Temper, ram_for};
use coherd_tests::renderer::Host;
use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion};

use super::outside::{self, Outside};
use super::renderer::Interrupted;
use crate::device_thread::{DeviceThread, Parts};
use crate::vmm::{Flavour, PAGE, WINDOW};

/// Chains in flight at a time.
const CHAINS: usize = 24;
/// Where the RAM is that comes and goes.
const MORE_RAM: GuestAddress = GuestAddress(1 << 24);

/// Draws commands that any device answers.
const GOOD_MANNERS: [u8; 512] = [0; 512];

/// See the module's description.
pub struct Machine {
    thread: DeviceThread,
    outside: Arc<Outside>,
    host: Host,
    layouts: [RingLayout; NUM_QUEUES],
    event_idx: bool,
    temper: Temper,
    guest: Guest,
    life: u64,
}

impl Machine {
    /// A machine whose guest has started its driver.
    ///
    /// # Errors
    /// [`arbitrary::Error`] if the input is too short.
    pub fn new(u: &mut Unstructured<'_>) -> Result<Self> {
        let size = *u.choose(&[16, 64, 2, 256])?;
        let event_idx = u.arbitrary()?;
        let flavour = *u.choose(&[Flavour::Qemu, Flavour::Crosvm])?;
        let temper = *u.choose(&[Temper::Tame, Temper::Wild])?;
        let budget = u.int_in_range(1..=6)?;
        let plan = u.bytes(u.len().min(24))?.to_vec();

        let (guest_memory, memory, less_memory) = ram();
        let layouts =
            [0, 1].map(|queue: u64| RingLayout::at(GuestAddress(queue * RING_BYTES), size));
        let reactor = Arc::new(Reactor::new().expect("an epoll set"));
        let channel = Arc::new(BackChannel::default());
        let rings = Rings::new(Arc::clone(&reactor), Arc::clone(&channel));
        let rings = Arc::new(rings.expect("rings"));
        let outside = Arc::new(Outside::new(outside::Parts {
            flavour,
            rings: Arc::clone(&rings),
            guest_memory,
            memory,
            less_memory,
            layouts,
            event_idx,
            plan,
        }));
        let host = Host::new().expect("an eventfd");
        let window = HostWindow::new(
            Window::new(WINDOW, PAGE, budget),
            Arc::clone(&outside),
            Arc::default(),
        );
        let parts = Parts {
            reactor,
            rings,
            events: ConfigEvents::new(Arc::new(ConfigSpace::new(Config::default())), channel),
            window,
            quotas: quotas(),
        };
        let thread = DeviceThread::new(parts, &host, |inner| {
            Box::new(Interrupted {
                inner,
                outside: Arc::clone(&outside),
            })
        });
        outside.run();
        let guest = Guest::new(outside.memory(), layouts, event_idx, temper);
        Ok(Self {
            thread,
            life: outside.lives(),
            outside,
            host,
            layouts,
            event_idx,
            temper,
            guest,
        })
    }

    /// Does one thing.
    ///
    /// # Errors
    /// [`arbitrary::Error`] if the input ends.
    pub fn step(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        match u.int_in_range(0..=31u8)? {
            0..=15 => {
                self.guest.offer(u, 0)?;
            }
            16 => {
                self.guest.offer(u, 1)?;
            }
            17 => self.outside.kick(u.int_in_range(0..=1)?),
            18..=22 => self.serve(),
            23 => self.host.signal_all(),
            24 => self.lose_context(u)?,
            25 => self.outside.pause(),
            26 => self.outside.run(),
            27 => self.outside.reset(u.arbitrary()?),
            28 => self.outside.set_memory(u.arbitrary()?),
            29 => {
                self.outside.take_memory();
                self.guest.give_up();
            }
            30 if self.temper == Temper::Wild => self.guest.corrupt(u)?,
            _ => {
                self.serve();
                self.host.signal_all();
                self.turn();
            }
        }
        self.follow_life();
        Ok(())
    }

    /// Kicks where the device wants it, and lets it do all it has to do.
    fn serve(&mut self) {
        self.outside.run();
        self.follow_life();
        for queue in 0..NUM_QUEUES {
            if self.guest.wants_kick(queue) {
                self.outside.kick(queue);
            }
        }
        self.turn();
    }

    fn turn(&mut self) {
        self.thread.turn(|| self.outside.follow());
        self.follow_life();
        self.guest
            .collect()
            .unwrap_or_else(|breach| panic!("{breach}: {breach:?}"));
    }

    /// A new driver takes the place of one whose device was reset.
    fn follow_life(&mut self) {
        let life = self.outside.lives();
        if life != self.life {
            self.life = life;
            self.guest = Guest::new(
                self.outside.memory(),
                self.layouts,
                self.event_idx,
                self.temper,
            );
        }
    }

    fn lose_context(&self, u: &mut Unstructured<'_>) -> Result<()> {
        let contexts = self.host.contexts();
        if !contexts.is_empty() {
            let lost = self.host.lose(*u.choose(&contexts)?);
            lost.expect("an eventfd");
        }
        Ok(())
    }

    /// Lets everything come to an end, and checks that nothing is left.
    pub fn finish(&mut self) {
        self.drain();
        self.outside.reset(false);
        self.outside.run();
        self.follow_life();
        let mut manners = Unstructured::new(&GOOD_MANNERS);
        for queue in 0..NUM_QUEUES {
            let offered = self.guest.offer(&mut manners, queue);
            assert_eq!(offered, Ok(true), "a new driver has no room");
        }
        self.drain();
        assert_eq!(self.guest.outstanding(), 0, "the device is dead");

        self.outside.reset(true);
        self.outside.run();
        self.turn();
        assert_eq!(self.host.contexts(), [0; 0], "contexts survive a reset");
        assert_eq!(self.host.blobs(), [0; 0], "blobs survive a reset");
        assert_eq!(self.host.complaints(), [""; 0]);
        self.outside.expect_window_reset();
    }

    /// Runs until the device has nothing left to do and the GPU nothing to complete.
    fn drain(&mut self) {
        for _ in 0..4 {
            self.outside.run();
            self.follow_life();
            (0..NUM_QUEUES).for_each(|queue| self.outside.kick(queue));
            self.turn();
            self.host.signal_all();
            self.turn();
        }
        self.guest
            .expect_all_returned()
            .unwrap_or_else(|breach| panic!("{breach}"));
    }
}

/// Guest RAM as the guest and as the device have it mapped, and the latter less one region.
fn ram() -> (GuestMemoryMmap, GuestMemory, GuestMemory) {
    let range = |gpa: GuestAddress, size| RamRange { gpa: gpa.0, size };
    let ranges = [
        range(GuestAddress(0), ram_for(CHAINS)),
        range(MORE_RAM, 1 << 16),
    ];
    let guest = GuestRam::new(&ranges).expect("guest RAM").memory().clone();
    let regions = guest.iter().map(|region| {
        let size = usize::try_from(region.len()).expect("a small number");
        (region.start_addr(), size, region.file_offset().cloned())
    });
    let regions: Vec<_> = regions.collect();
    let whole = Ram::from_ranges_with_files(&regions).expect("guest RAM");
    let (less, _) = whole.remove_region(MORE_RAM, 1 << 16).expect("a region");
    (guest, Arc::new(whole), Arc::new(less))
}

/// Small enough to be reached.
fn quotas() -> Quotas {
    let mut quotas = Quotas::default();
    for (quota, value) in [
        (Quota::ImageBytes, 1 << 16),
        (Quota::Resources, 6),
        (Quota::Contexts, 2),
        (Quota::BackingEntries, 8),
    ] {
        let set = quotas.set(Scope::Vm, quota, value);
        set.expect("a quota within its range");
    }
    quotas
}
