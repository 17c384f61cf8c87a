//! Many resources cost no time per command and, once they are gone, no memory. Alone in its
//! process, because it measures.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::time::{Duration, Instant};

use coherd_protocol::gpu::Format;
use coherd_tests::driver::Buffer;
use coherd_tests::frontend::Flavour;
use coherd_tests::renderer::CAPSET;
use coherd_tests::rig::Rig;

/// Live resources, and how many are few.
const MANY: u32 = 100_000;
const FEW: u32 = 100;

/// Rounds of which the fastest counts: a machine that is busy with others makes some slower.
const ROUNDS: usize = 15;
/// Commands of a kind in a round.
const REPEATS: u32 = 40;

/// How much slower a command may be with many resources. Caches and page tables grow; a walk
/// through a list would cost a thousand times as much.
const TOLERANCE: u32 = 3;

/// What may stay of many resources, in KiB.
const LEFT: u64 = 4096;

/// Memory of this process that is no file's, in KiB.
fn anonymous_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:"));
    let words = line.unwrap().split_whitespace().nth(1);
    words.unwrap().parse().unwrap()
}

/// Creates resources `ids`, each with a backing and attached to the context.
fn populate(rig: &mut Rig, ids: std::ops::Range<u32>, page: Buffer) {
    for id in ids {
        rig.gpu.create_2d(id, Format::B8G8R8A8, 16, 16).unwrap();
        rig.gpu.attach_backing(id, &[page]).unwrap();
        rig.gpu.ctx_attach(1, id).unwrap();
    }
}

/// The time of a life of a resource, in rounds of [`REPEATS`], at its fastest.
fn time_of_a_life(rig: &mut Rig, id: u32, page: Buffer) -> Duration {
    let round = |rig: &mut Rig| {
        let began = Instant::now();
        for _ in 0..REPEATS {
            populate(rig, id..id + 1, page);
            rig.gpu.assign_uuid(id).unwrap();
            rig.gpu.ctx_detach(1, id).unwrap();
            rig.gpu.unref(id).unwrap();
            rig.gpu.ctx_create(2, CAPSET, "short").unwrap();
            rig.gpu.ctx_destroy(2).unwrap();
        }
        began.elapsed()
    };
    (0..ROUNDS).map(|_| round(rig)).min().unwrap()
}

#[test]
fn hundred_thousand_resources_slow_nothing_down_and_leave_nothing() {
    let mut rig = Rig::new(Flavour::Qemu).unwrap();
    let page = rig.gpu.buffer(&[0; 4096]).unwrap();
    rig.gpu.ctx_create(1, CAPSET, "scale").unwrap();
    populate(&mut rig, 1..FEW, page);
    let with_few = time_of_a_life(&mut rig, MANY + 1, page);
    let idle = anonymous_memory();

    populate(&mut rig, FEW..MANY, page);
    let with_many = time_of_a_life(&mut rig, MANY + 1, page);
    let full = anonymous_memory();
    assert!(
        with_many < with_few * TOLERANCE,
        "{with_many:?} with {MANY} resources, {with_few:?} with {FEW}"
    );
    for id in 1..MANY {
        rig.gpu.unref(id).unwrap();
    }

    let left = anonymous_memory();
    assert!(full > idle + LEFT, "{idle} KiB grew to {full} KiB only");
    assert!(left < idle + LEFT, "{idle} KiB became {left} KiB for good");
    println!(
        "a life: {with_few:?} with {FEW} resources, {with_many:?} with {MANY}; \
         memory: {idle} KiB, {full} KiB with {MANY}, {left} KiB without"
    );
    rig.finish().unwrap();
}
