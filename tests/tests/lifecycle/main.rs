//! A device at any moment of its life: commands of the guest and what its VMM does meanwhile, also
//! in the middle of a map, compared with a model after each step. Alone in its process, because it
//! counts open files.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod guest;
mod model;

use std::fs;
use std::sync::Once;

use coherd_tests::frontend::{Flavour, Stage};
use coherd_tests::interrupt::MOMENTS;
use proptest::collection::vec;
use proptest::prelude::*;

use guest::Guest;

/// A command of the guest. Blobs are numbered from 1, their places in the window are in pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Command {
    CreateContext(u32),
    DestroyContext(u32),
    /// A blob of a context, and its pages.
    Create(u32, u32, u64),
    Unref(u32),
    Map(u32, u64),
    Unmap(u32),
    Attach(u32, u32),
    Detach(u32, u32),
    /// A context fills a blob with a byte.
    Fill(u32, u32, u8),
    /// A context is asked for a fence that nobody signals.
    Fence(u32),
}

/// Something the VMM does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    /// Stop and resume.
    Pause,
    /// Stop, and a start with a new driver.
    Reboot,
    /// RESET_DEVICE, and a start with a new driver.
    ResetDevice,
    /// A memory table.
    Memory,
}

/// How a life ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The VMM hangs up.
    HangUp,
    /// The VMM stops the device first.
    Stop,
    /// The VMM dies.
    Kill,
    /// The daemon is told to end.
    Quit,
}

#[derive(Clone, Debug)]
enum Step {
    Command(Command),
    Event(Event),
    /// An event while the VMM is at this stage of what a command asks of it.
    Interrupt(Command, Stage, Event),
}

fn command() -> impl Strategy<Value = Command> {
    let (ctx, id) = (|| 1..3u32, || 1..6u32);
    prop_oneof![
        2 => ctx().prop_map(Command::CreateContext),
        1 => ctx().prop_map(Command::DestroyContext),
        5 => (ctx(), id(), 1..4u64).prop_map(|(ctx, id, pages)| Command::Create(ctx, id, pages)),
        2 => id().prop_map(Command::Unref),
        2 => (ctx(), id()).prop_map(|(ctx, id)| Command::Attach(ctx, id)),
        1 => (ctx(), id()).prop_map(|(ctx, id)| Command::Detach(ctx, id)),
        3 => (ctx(), id(), any::<u8>()).prop_map(|(ctx, id, byte)| Command::Fill(ctx, id, byte)),
        1 => ctx().prop_map(Command::Fence),
        10 => window_command(),
    ]
}

/// A command that may ask something of the VMM.
fn window_command() -> impl Strategy<Value = Command> {
    let id = || 1..6u32;
    prop_oneof![
        4 => (id(), 0..8u64).prop_map(|(id, page)| Command::Map(id, page)),
        1 => id().prop_map(Command::Unmap),
        1 => id().prop_map(Command::Unref),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => Just(Event::Pause),
        1 => Just(Event::Reboot),
        1 => Just(Event::ResetDevice),
        1 => Just(Event::Memory),
    ]
}

fn stage() -> impl Strategy<Value = Stage> {
    prop::sample::select(MOMENTS.as_slice()).prop_map(|(_, stage)| stage)
}

fn step() -> impl Strategy<Value = Step> {
    let interrupt = (window_command(), stage(), event());
    prop_oneof![
        10 => command().prop_map(Step::Command),
        2 => event().prop_map(Step::Event),
        3 => interrupt.prop_map(|(command, stage, event)| Step::Interrupt(command, stage, event)),
    ]
}

fn end() -> impl Strategy<Value = End> {
    prop::sample::select(vec![End::HangUp, End::Stop, End::Kill, End::Quit])
}

/// Open files, and mappings of memfds.
fn held() -> (usize, usize) {
    let fds = fs::read_dir("/proc/self/fd").unwrap().count();
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let memfds = maps.lines().filter(|line| line.contains("memfd:"));
    (fds, memfds.count())
}

fn live(flavour: Flavour, steps: &[Step], last: Option<(Command, Stage)>, end: End) {
    let mut guest = Guest::new(flavour);
    for step in steps {
        guest.take(step);
    }
    guest.end(last, end);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 400,
        // A command that is lost is waited for each time, for seconds.
        max_shrink_time: 60_000,
        ..ProptestConfig::default()
    })]

    #[test]
    fn state_is_exact_after_every_step_and_nothing_is_left_in_the_end(
        flavour in prop::sample::select(vec![Flavour::Qemu, Flavour::Crosvm, Flavour::Libkrun]),
        steps in vec(step(), 0..60),
        last in prop::option::of((window_command(), stage())),
        end in end(),
    ) {
        static FIRST: Once = Once::new();
        // The first time also opens what stays open.
        FIRST.call_once(|| live(Flavour::Qemu, &[], None, End::HangUp));
        let before = held();
        live(flavour, &steps, last, end);
        prop_assert_eq!(held(), before);
    }
}
