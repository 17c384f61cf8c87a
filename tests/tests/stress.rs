//! A million hostile commands in four daemons. Alone in its process, because it counts.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::env;
use std::fs;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::Command;
use std::thread;

use arbitrary::Unstructured;
use coherd::device::quota::{Quota, Quotas, Scope};
use coherd::serve::Options;
use coherd_tests::frontend::{Config, Deadline, Flavour, FrontendError, RamRange};
use coherd_tests::guest::random::SplitMix64;
use coherd_tests::hostile::{Guest, Score, Temper, ram_for};
use coherd_tests::rig::Rig;
use virtio_bindings::virtio_ring::VIRTIO_RING_F_EVENT_IDX;

/// Commands of all guests together.
const COMMANDS: u64 = 1_000_000;
/// Guests at a time, each with a daemon of its own.
const GUESTS: u64 = 4;
/// Daemons that a guest uses up.
const ROUNDS: u64 = 5;

/// Bytes from which a batch of commands is drawn.
const BATCH: usize = 16 << 10;
/// Pages by which this process may grow from the first round to the last.
const GROWTH: u64 = 4096;

/// The one test of this file.
const NAME: &str = "a_million_hostile_commands_leave_nothing_behind";
/// glibc's limit of heaps.
const ONE_HEAP: &str = "MALLOC_ARENA_MAX";

/// Bytes of free memory that glibc keeps, and of allocations that it returns at once; these are
/// its own, which it would raise.
const HEAP_THRESHOLD: &str = "131072";
/// Names the seed of a run to be repeated.
const SEED: &str = "COHERD_STRESS_SEED";

/// A guest, its VMM and its daemon.
struct Stress {
    flavour: Flavour,
    rig: Rig,
    numbers: SplitMix64,
    guest: Guest,
    score: Score,
}

impl Stress {
    fn new(seed: u64) -> Self {
        let mut numbers = SplitMix64::new(seed);
        let flavours = [
            Flavour::Qemu,
            Flavour::Crosvm,
            Flavour::Qemu,
            Flavour::Libkrun,
        ];
        let flavour = flavours[numbers.below(flavours.len())];
        let mut config = Config {
            queue_size: [1024, 256, 256, 64, 8][numbers.below(5)],
            ram: vec![
                RamRange {
                    gpa: 0,
                    size: ram_for(256),
                },
                RamRange {
                    gpa: 1 << 32,
                    size: 1 << 20,
                },
            ],
            ..Config::new(flavour)
        };
        if numbers.below(4) == 0 {
            config.features &= !(1 << VIRTIO_RING_F_EVENT_IDX);
        }
        let mut quotas = Quotas::default();
        quotas.set(Scope::Vm, Quota::Resources, 32).unwrap();
        quotas.set(Scope::Vm, Quota::Contexts, 8).unwrap();
        quotas.set(Scope::Vm, Quota::Mappings, 6).unwrap();
        let options = Options {
            window_size: 1 << 20,
            quotas,
            ..Options::default()
        };
        let rig = Rig::with(config, options).unwrap();
        Self {
            guest: driver(&rig, Temper::Tame),
            flavour,
            rig,
            numbers,
            score: Score::default(),
        }
    }

    /// Commands so far.
    fn offered(&self) -> u64 {
        self.score.offered + self.guest.score().offered
    }

    fn run(mut self, commands: u64) -> Score {
        while self.offered() < commands {
            self.rig.host.set_instant(self.numbers.below(3) > 0);
            self.offer_batch();
            self.interfere();
        }
        self.settle();
        self.reboot();
        self.rig.finish().unwrap();
        self.score
    }

    /// Fills both queues and lets the device work, through one kick each.
    fn offer_batch(&mut self) {
        let words = (0..BATCH / 8).flat_map(|_| self.numbers.next_word().to_ne_bytes());
        let bytes: Vec<u8> = words.collect();
        let mut input = Unstructured::new(&bytes);
        loop {
            let queue = usize::from(self.numbers.below(16) == 0);
            match self.guest.offer(&mut input, queue) {
                Ok(true) => {}
                Ok(false) | Err(_) => break,
            }
        }
        self.kick();
    }

    fn kick(&mut self) {
        for (queue, ring) in self.rig.frontend.rings().iter().enumerate() {
            if self.guest.wants_kick(queue) {
                ring.kick().unwrap();
            }
        }
    }

    /// Waits until every command is answered, or reboots if the rings are spoilt.
    fn settle(&mut self) {
        self.rig.host.set_instant(true);
        let deadline = self.rig.frontend.deadline();
        for queue in 0..2 {
            while self.guest.is_honest() && self.guest.outstanding_on(queue) > 0 {
                self.guest.collect().unwrap();
                if self.guest.outstanding_on(queue) > 0 && !self.guest.listen(queue) {
                    self.wait(queue, deadline);
                }
            }
        }
        if !self.guest.is_honest() {
            self.reboot();
        }
    }

    fn wait(&self, queue: usize, deadline: Deadline) {
        let called = self.rig.frontend.rings()[queue].wait_call(deadline);
        assert!(
            called.unwrap(),
            "chains do not come back to {:?} (queue, command, fence): {:?}; fences not signalled: {:?}",
            self.flavour,
            self.guest.left().collect::<Vec<_>>(),
            self.rig.host.fences()
        );
    }

    /// Does what a VMM, a GPU or a wild guest may do at any moment.
    fn interfere(&mut self) {
        match self.numbers.below(32) {
            0 | 1 => self.pause(),
            2 => self.reboot(),
            3 => {
                let plugged = self.numbers.below(2) == 0;
                self.rig.frontend.plug(plugged).unwrap();
            }
            4..8 if self.guest.temper() == Temper::Wild => self.corrupt(),
            8 => {
                let contexts = self.rig.host.contexts();
                if let Some(id) = contexts.first() {
                    self.rig.host.lose(*id).unwrap();
                }
            }
            _ => self.settle(),
        }
    }

    fn pause(&mut self) {
        if self.flavour == Flavour::Libkrun {
            // It has no pause.
            return self.reboot();
        }
        let bases = self.rig.frontend.stop().unwrap();
        self.rig.host.signal_all();
        match self.rig.frontend.resume(&bases) {
            Ok(()) => {}
            // QEMU's own limit: the VM stays paused until it is reset.
            Err(FrontendError::TableFull(_)) => self.reboot(),
            Err(error) => panic!("{error:?}"),
        }
    }

    fn reboot(&mut self) {
        self.rig.frontend.reset().unwrap();
        if self.flavour == Flavour::Libkrun {
            // It does not wait for the device to stop; an answer says that it did.
            self.rig.frontend.get_config(0, 4).unwrap();
        }
        self.rig.frontend.start().unwrap();
        self.score.add(self.guest.score());
        let temper = match self.numbers.below(4) {
            0 => Temper::Wild,
            _ => Temper::Tame,
        };
        self.guest = driver(&self.rig, temper);
    }

    /// Spoils the rings, and lets the device make of them what it can.
    fn corrupt(&mut self) {
        let words: Vec<u8> = (0..16)
            .flat_map(|_| self.numbers.next_word().to_ne_bytes())
            .collect();
        let mut input = Unstructured::new(&words);
        while self.guest.corrupt(&mut input).is_ok() && !input.is_empty() {}
        for ring in self.rig.frontend.rings() {
            ring.kick().unwrap();
        }
        self.guest.collect().unwrap();
    }
}

fn driver(rig: &Rig, temper: Temper) -> Guest {
    let event_idx = rig.frontend.features() & 1 << VIRTIO_RING_F_EVENT_IDX != 0;
    let layouts = [0, 1].map(|queue| rig.frontend.rings()[queue].layout());
    Guest::new(rig.frontend.memory(), layouts, event_idx, temper)
}

/// Open files, and pages of memory in use.
fn held() -> (usize, u64) {
    let files = fs::read_dir("/proc/self/fd").unwrap().count();
    let statm = fs::read_to_string("/proc/self/statm").unwrap();
    let resident = statm.split_whitespace().nth(1).unwrap();
    (files, resident.parse().unwrap())
}

fn round(seed: u64, round: u64) -> Score {
    let guests: Vec<_> = (0..GUESTS)
        .map(|guest| {
            let seed = seed.wrapping_add(round * GUESTS + guest);
            thread::spawn(move || Stress::new(seed).run(COMMANDS / GUESTS / ROUNDS))
        })
        .collect();
    let mut score = Score::default();
    for guest in guests {
        match guest.join() {
            Ok(one) => score.add(one),
            Err(panic) => resume_unwind(panic),
        }
    }
    score
}

fn seed() -> u64 {
    match env::var(SEED) {
        Ok(text) => text.parse().unwrap(),
        Err(_) => {
            let mut bytes = [0; 8];
            let flags = rustix::rand::GetRandomFlags::empty();
            rustix::rand::getrandom(&mut bytes, flags).unwrap();
            u64::from_ne_bytes(bytes)
        }
    }
}

fn all_rounds(seed: u64) {
    let mut score = round(seed, 0);
    let (files, pages) = held();
    for number in 1..ROUNDS {
        score.add(round(seed, number));
        let (files_now, pages_now) = held();
        assert_eq!(files_now, files, "open files after round {number}");
        assert!(
            pages_now <= pages + GROWTH,
            "{pages_now} pages after round {number}, {pages} after the first"
        );
    }
    println!("{score:?}, {files} files, {pages} then {} pages", held().1);
    assert!(score.offered >= COMMANDS);
    assert!(score.done >= score.offered / 5, "{score:?}");
    assert!(score.refused >= score.offered / 5, "{score:?}");
}

/// Runs this test again in a process whose threads share one heap that returns what is free.
///
/// glibc gives threads heaps of their own and keeps what is freed in each, up to a bound that
/// grows with the largest allocation so far, so that memory grows without a leak.
fn run_with_one_heap() {
    let output = Command::new(env::current_exe().unwrap())
        .args([NAME, "--exact", "--nocapture"])
        .env(ONE_HEAP, "1")
        .env("MALLOC_TRIM_THRESHOLD_", HEAP_THRESHOLD)
        .env("MALLOC_MMAP_THRESHOLD_", HEAP_THRESHOLD)
        .output()
        .unwrap();
    let [said, complaints] =
        [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    assert!(
        output.status.success(),
        "{}\n{said}{complaints}",
        output.status
    );
    // Nothing else of it: who counts results would count this test twice.
    let figures = said
        .find("Score {")
        .and_then(|start| said[start..].lines().next());
    // libtest keeps to itself what a test prints that passes.
    let line = format!("{}\n", figures.unwrap());
    io::stdout().write_all(line.as_bytes()).unwrap();
}

#[test]
fn a_million_hostile_commands_leave_nothing_behind() {
    if env::var_os(ONE_HEAP).is_none() {
        return run_with_one_heap();
    }
    let seed = seed();
    let result = catch_unwind(AssertUnwindSafe(|| all_rounds(seed)));
    if let Err(panic) = result {
        eprintln!("repeat it with {SEED}={seed}");
        resume_unwind(panic);
    }
}
