//! Fences under random programs: contexts that come, go and are lost, a renderer that signals from
//! several threads in any order, pauses and resets. No fence is answered early, twice, out of
//! order or never.

mod guest;

use std::ops::Range;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use coherd_tests::renderer::{BROKEN_RING, Host, INSTANT_RING, NARROW_RING};
use proptest::collection::vec;
use proptest::prelude::*;

use guest::Guest;

/// Threads of the renderer.
const SIGNALLERS: usize = 3;

/// Contexts that a driver starts with.
const CONTEXTS: Range<u32> = 1..4;

/// Rings whose fences wait for the renderer.
const RINGS: [u8; 3] = [0, 1, 60];

/// Steps of a program, at most. The queue has room for so many commands.
const STEPS: usize = 100;

#[derive(Clone, Debug)]
enum Step {
    /// SUBMIT_3D with a fence on a ring, or on the global timeline; some are malformed.
    Submit {
        ctx_id: u32,
        ring: Option<u8>,
        id: u64,
        malformed: bool,
    },
    /// A command of no context with a fence on the global timeline.
    Global(u64),
    Create(u32),
    Destroy(u32),
    /// The worker of a context dies.
    Lose(u32),
    /// A thread of the renderer signals the fence that has this place among those it knows.
    Signal(usize, usize),
    /// The guest looks for answers.
    Look,
    Pause,
    Reboot,
    /// RESET_DEVICE, which QEMU alone sends.
    Reset,
}

fn step() -> impl Strategy<Value = Step> {
    let ctx = || CONTEXTS;
    let id = || prop_oneof![4 => any::<u64>(), 1 => 0..3u64, 1 => Just(u64::MAX)];
    let rings = [RINGS.as_slice(), &[BROKEN_RING, INSTANT_RING, NARROW_RING]].concat();
    let ring = prop::option::weighted(0.8, prop::sample::select(rings));
    let malformed = prop::bool::weighted(0.1);
    let submit =
        (ctx(), ring, id(), malformed).prop_map(|(ctx_id, ring, id, malformed)| Step::Submit {
            ctx_id,
            ring,
            id,
            malformed,
        });
    let signal = (0..SIGNALLERS, any::<usize>());
    prop_oneof![
        20 => submit,
        3 => id().prop_map(Step::Global),
        3 => ctx().prop_map(Step::Create),
        2 => ctx().prop_map(Step::Destroy),
        1 => ctx().prop_map(Step::Lose),
        8 => signal.prop_map(|(thread, nth)| Step::Signal(thread, nth)),
        4 => Just(Step::Look),
        2 => Just(Step::Pause),
        1 => Just(Step::Reboot),
        1 => Just(Step::Reset),
    ]
}

/// Signals fences by their places among those that the renderer knows, late ones included.
fn signal(host: &Host, places: Receiver<usize>) {
    for place in places {
        let fences = host.fences();
        if let Some(fence) = fences.get(place % fences.len().max(1)) {
            host.signal(*fence);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1000,
        // A command that is lost is waited for each time, for seconds.
        max_shrink_time: 60_000,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_fence_is_answered_once_in_order_and_when_it_is_due(
        flavour in prop::sample::select(crate::WITH_WINDOW.as_slice()),
        program in vec(step(), 0..STEPS),
    ) {
        let mut guest = Guest::new(flavour);
        thread::scope(|scope| {
            let signallers = [(); SIGNALLERS].map(|()| {
                let (places, receiver) = channel();
                let host = guest.host();
                scope.spawn(move || signal(&host, receiver));
                places
            });
            for (place, step) in program.iter().enumerate() {
                match step {
                    Step::Signal(thread, place) => signallers[*thread].send(*place).unwrap(),
                    Step::Pause | Step::Reboot | Step::Reset => {
                        // The renderer is at its busiest while the VMM changes the rings.
                        signallers.iter().for_each(|thread| thread.send(place).unwrap());
                        guest.take(step);
                    }
                    step => guest.take(step),
                }
            }
        });
        guest.finish();
    }
}
