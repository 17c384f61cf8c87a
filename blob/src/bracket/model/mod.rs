//! Random programs of several holders against a cache that forgives nothing.
//!
//! [`World`] runs the book, carries out its actions in order, and knows for each byte what
//! everybody has to see. It keeps the promises of the holders and breaks no others.

mod memory;
mod world;

use std::ops::Range;

use coherd_protocol::memory::Access;
use proptest::prelude::*;

use super::Means;
use memory::{Cache, SIZE};
use world::World;

/// One step of a program. Numbers that choose something are taken modulo what there is.
#[derive(Clone, Debug)]
enum Step {
    Begin {
        holder: u64,
        access: Access,
        range: Range<usize>,
        patience: u64,
    },
    End(usize),
    Abandon(u64),
    /// Time passes.
    Expire(u64),
    /// The next actions are carried out, or a START among them fails.
    Carry {
        fail: bool,
    },
    DeviceWrite(Range<usize>),
    CpuWrite {
        bracket: usize,
        offset: usize,
    },
    Prefetch(usize),
    Evict(usize),
}

fn range() -> impl Strategy<Value = Range<usize>> {
    (0..SIZE, 1..=SIZE).prop_map(|(start, len)| start..SIZE.min(start + len))
}

fn access() -> impl Strategy<Value = Access> {
    prop::sample::select(vec![
        Access::READ,
        Access::WRITE,
        Access::READ | Access::WRITE,
    ])
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..4u64, access(), range(), 0..20u64).prop_map(|(holder, access, range, patience)| {
            Step::Begin { holder, access, range, patience }
        }),
        4 => any::<usize>().prop_map(Step::End),
        1 => (0..4u64).prop_map(Step::Abandon),
        2 => (0..8u64).prop_map(Step::Expire),
        8 => prop::bool::weighted(0.1).prop_map(|fail| Step::Carry { fail }),
        6 => range().prop_map(Step::DeviceWrite),
        6 => (any::<usize>(), any::<usize>()).prop_map(|(bracket, offset)| {
            Step::CpuWrite { bracket, offset }
        }),
        2 => (0..SIZE).prop_map(Step::Prefetch),
        2 => (0..SIZE).prop_map(Step::Evict),
    ]
}

fn program() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(), 0..60)
}

fn run(means: Means, cache: Cache, program: &[Step]) {
    let mut world = World::new(means, cache);
    for step in program {
        match step.clone() {
            Step::Begin {
                holder,
                access,
                range,
                patience,
            } => world.begin(holder, access, range, patience),
            Step::End(pick) => world.end(pick),
            Step::Abandon(holder) => world.abandon(holder),
            Step::Expire(time) => world.expire(time),
            Step::Carry { fail } => world.carry_out(fail),
            Step::DeviceWrite(range) => world.device_write(&range),
            Step::CpuWrite { bracket, offset } => world.cpu_write(bracket, offset),
            Step::Prefetch(offset) => world.memory.prefetch(offset),
            Step::Evict(offset) => world.memory.evict(offset),
        }
        world.check();
    }
    world.finish();
}

proptest! {
    #[test]
    fn bytes_are_right_on_a_dma_buf(program in program()) {
        run(Means::DmaBuf, Cache::Lines, &program);
    }

    #[test]
    fn bytes_are_right_on_mapped_memory(program in program(), atom in prop::sample::select(vec![1, 4, 16, 128])) {
        run(Means::Mapped { atom }, Cache::Lines, &program);
    }

    #[test]
    fn bytes_are_right_behind_the_test_layer(program in program(), atom in prop::sample::select(vec![1, 4, 16, 128])) {
        run(Means::Mapped { atom }, Cache::Shadow, &program);
    }

    #[test]
    fn bytes_are_right_on_a_dma_buf_of_mapped_memory(program in program(), atom in prop::sample::select(vec![1, 4, 16])) {
        run(Means::DmaBufMapped { atom }, Cache::Lines, &program);
    }

    #[test]
    fn bytes_are_right_on_coherent_memory(program in program()) {
        run(Means::Coherent, Cache::None, &program);
    }
}
