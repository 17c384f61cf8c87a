//! How fast memory is through a door, and what flush and invalidate cost.

use std::time::{Duration, Instant};

use coherd_blob::{Access, MemoryType};

use super::{MemoryError, Subject, View};

/// Bytes of the other side of a copy, which stay in the processor's cache.
const BLOCK: usize = 64 << 10;

/// A figure is the best of as many passes over the memory as fit in this, and of at least three.
const TIME: Duration = Duration::from_millis(200);
const PASSES: u32 = 3;

const MIB: f64 = (1 << 20) as f64;

/// The speed of a processor's copies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Speed {
    /// MB/s out of the memory.
    pub load: f64,
    /// MB/s into the memory.
    pub store: f64,
}

/// What it costs to make the two sides see each other's writes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// Microseconds for a MiB that the CPU has just written.
    pub flush: f64,
    /// Microseconds for a MiB.
    pub invalidate: f64,
}

/// Measures copies between the memory and a block in the cache.
#[must_use]
pub fn measure(view: &View<'_>) -> Speed {
    let mut block = vec![0x5a; BLOCK.min(view.len())];
    let store = best(|| {
        let began = Instant::now();
        each_block(view, block.len(), |offset, len| {
            view.store_at(offset, &block[..len]);
        });
        began.elapsed()
    });
    let load = best(|| {
        let began = Instant::now();
        each_block(view, block.len(), |offset, len| {
            view.load_at(offset, &mut block[..len]);
            std::hint::black_box(&mut block);
        });
        began.elapsed()
    });
    let rate = |time: Duration| view.len() as f64 / time.as_secs_f64() / 1e6;
    Speed {
        load: rate(load),
        store: rate(store),
    }
}

/// Measures flush and invalidate of all of the memory; `None` for memory that needs neither.
///
/// # Errors
/// [`MemoryError::Access`]
pub fn cost(subject: &Subject, view: &View<'_>) -> Result<Option<Cost>, MemoryError> {
    if !subject
        .memory_type()
        .is_some_and(MemoryType::needs_brackets)
    {
        return Ok(None);
    }
    let (allocation, all) = (subject.allocation(), 0..subject.allocation().size());
    let block = vec![0xa5; BLOCK.min(view.len())];
    view.start(Access::WRITE)?;
    view.end(Access::WRITE)?;
    let mut failure = Ok(());
    let flush = best(|| {
        each_block(view, block.len(), |offset, len| {
            view.store_at(offset, &block[..len]);
        });
        let began = Instant::now();
        let flushed = allocation.flush(all.clone());
        let time = began.elapsed();
        failure = std::mem::replace(&mut failure, Ok(())).and(flushed);
        time
    });
    let invalidate = best(|| {
        let began = Instant::now();
        let invalidated = allocation.invalidate(all.clone());
        let time = began.elapsed();
        failure = std::mem::replace(&mut failure, Ok(())).and(invalidated);
        time
    });
    failure?;
    let a_mib = |time: Duration| time.as_secs_f64() * 1e6 / (view.len() as f64 / MIB);
    Ok(Some(Cost {
        flush: a_mib(flush),
        invalidate: a_mib(invalidate),
    }))
}

fn each_block(view: &View<'_>, block: usize, mut work: impl FnMut(usize, usize)) {
    for offset in (0..view.len()).step_by(block.max(1)) {
        work(offset, block.min(view.len() - offset));
    }
}

/// The shortest time of several passes, the first of which only warms up.
fn best(mut pass: impl FnMut() -> Duration) -> Duration {
    pass();
    let began = Instant::now();
    let mut shortest = Duration::MAX;
    let mut passes = 0;
    while passes < PASSES || began.elapsed() < TIME {
        shortest = shortest.min(pass());
        passes += 1;
    }
    shortest.max(Duration::from_nanos(1))
}
