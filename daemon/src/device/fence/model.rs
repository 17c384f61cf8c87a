//! The table against a model that looks at every fence each time.

use coherd_protocol::gpu::header::{Fence, Timeline};
use proptest::collection::vec;
use proptest::prelude::*;

use super::{FenceTable, Ring};

#[derive(Clone, Debug)]
enum Step {
    AddToRing(Ring, bool),
    AddGlobal(Option<u32>),
    /// A ring, and how far its number is behind that of the latest fence; beyond it if negative.
    Signal(Ring, i64),
    /// As above.
    GiveUp(Ring, i64),
    Abandon(u32),
    Clear,
}

fn step() -> impl Strategy<Value = Step> {
    let ctx = || 0..4u32;
    let ring = || (ctx(), 0..3u8);
    prop_oneof![
        8 => (ring(), prop::bool::weighted(0.8)).prop_map(|(ring, waits)| Step::AddToRing(ring, waits)),
        3 => prop::option::of(ctx()).prop_map(Step::AddGlobal),
        6 => (ring(), -2..20i64).prop_map(|(ring, behind)| Step::Signal(ring, behind)),
        2 => (ring(), -2..20i64).prop_map(|(ring, behind)| Step::GiveUp(ring, behind)),
        1 => ctx().prop_map(Step::Abandon),
        1 => Just(Step::Clear),
    ]
}

/// A fence of the model; `ring` is `None` on the global timeline.
#[derive(Debug)]
struct Known {
    number: u64,
    ring: Option<Ring>,
    signalled: bool,
    after: Vec<u64>,
}

#[derive(Debug, Default)]
struct Model {
    last: u64,
    pending: Vec<Known>,
}

impl Model {
    fn add(&mut self, ring: Option<Ring>, signalled: bool, follows: Option<u32>) {
        self.last += 1;
        let followed = |known: &&Known| {
            let ctx_id = known.ring.map(|(ctx_id, _)| ctx_id);
            follows.is_some() && ctx_id == follows
        };
        let after = self.pending.iter().filter(followed);
        let after = after.map(|known| known.number).collect();
        self.pending.push(Known {
            number: self.last,
            ring,
            signalled,
            after,
        });
    }

    fn signal(&mut self, which: impl Fn(&Known) -> bool) {
        for known in self.pending.iter_mut().filter(|known| which(known)) {
            known.signalled = true;
        }
    }

    /// Takes out the numbers of all fences that are complete, in order.
    fn complete(&mut self) -> Vec<u64> {
        let mut completed = Vec::new();
        loop {
            let is_pending =
                |number: &u64| self.pending.iter().any(|known| known.number == *number);
            let next = self.pending.iter().enumerate().position(|(index, known)| {
                let mut earlier = self.pending.iter().take(index);
                known.signalled
                    && !known.after.iter().any(is_pending)
                    && !earlier.any(|earlier| earlier.ring == known.ring)
            });
            let Some(next) = next else { break };
            completed.push(self.pending.remove(next).number);
        }
        completed.sort_unstable();
        completed
    }
}

fn signal_of((ctx_id, ring_idx): Ring, id: u64) -> Fence {
    let timeline = Timeline::Ring { ctx_id, ring_idx };
    Fence { id, timeline }
}

/// A reply: the number of its fence, and its ring.
type Reply = (u64, Option<Ring>);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn every_reply_is_released_once_in_order_and_when_it_is_due(
        steps in vec(step(), 0..50),
    ) {
        let mut table = FenceTable::<Reply>::default();
        let mut model = Model::default();
        let mut ever_released: Vec<Reply> = Vec::new();
        let everything = (0..4).map(Step::Abandon);
        for step in steps.into_iter().chain(everything) {
            let mut released = Vec::new();
            match step {
                Step::AddToRing(ring, waits) => {
                    model.add(Some(ring), !waits, None);
                    let reply = (model.last, Some(ring));
                    let number = table.add_to_ring(ring, waits, reply, &mut released);
                    prop_assert_eq!(number, model.last);
                }
                Step::AddGlobal(follows) => {
                    model.add(None, true, follows);
                    table.add_global(follows, (model.last, None), &mut released);
                }
                Step::Signal(ring, behind) => {
                    let number = model.last.saturating_add_signed(-behind);
                    model.signal(|known| known.ring == Some(ring) && known.number <= number);
                    table.signal(signal_of(ring, number), &mut released);
                }
                Step::GiveUp(ring, behind) => {
                    let number = model.last.saturating_add_signed(-behind);
                    model.signal(|known| known.ring == Some(ring) && known.number == number);
                    table.give_up(ring, number, &mut released);
                }
                Step::Abandon(ctx_id) => {
                    model.signal(|known| known.ring.is_some_and(|(id, _)| id == ctx_id));
                    table.abandon_context(ctx_id, &mut released);
                }
                Step::Clear => {
                    model.pending.clear();
                    table.clear();
                }
            }
            let mut numbers: Vec<u64> = released.iter().map(|reply| reply.0).collect();
            numbers.sort_unstable();
            prop_assert_eq!(numbers, model.complete());
            prop_assert_eq!(table.len(), model.pending.len());
            ever_released.append(&mut released);
        }
        prop_assert!(table.is_empty());
        for (index, (number, ring)) in ever_released.iter().enumerate() {
            let mut before = ever_released[..index].iter().filter(|reply| reply.1 == *ring);
            prop_assert!(before.all(|earlier| earlier.0 < *number));
        }
    }
}
