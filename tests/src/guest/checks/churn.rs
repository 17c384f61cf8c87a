//! Allocations that come and go for a long time while others must keep their bytes.

use std::time::Duration;

use super::allocation::{DeviceReader, Filled, Scratch, Template};
use super::error::CheckError;
use super::progress::{Ticker, WorkClock};
use crate::guest::Gpu;
use crate::guest::random::SplitMix64;

/// Every so many iterations the device reads an allocation too.
const DEVICE_EVERY: u64 = 16;

/// What to do.
#[derive(Clone, Copy, Debug)]
pub struct Churn {
    /// How long to work; pauses of the whole machine do not count.
    pub time: Duration,
    /// Iterations after which to end even so.
    pub iterations: Option<u64>,
    /// Allocations at any time.
    pub live: usize,
    /// Bytes of each.
    pub size: u64,
    /// Where the sequence of choices begins.
    pub seed: u64,
    /// The memory type.
    pub type_index: Option<u32>,
}

/// Runs the check and says what it covered. Standard output gets `alive N` each second, with the
/// number of iterations so far.
pub fn churn(gpu: &Gpu, options: &Churn) -> Result<String, CheckError> {
    if options.live == 0 {
        return Err(CheckError::BadOption(
            "At least one live allocation is needed",
        ));
    }
    Template::check_live(gpu, options.live)?;
    let template = Template::new(gpu, options.size, options.type_index)?;
    let reader = DeviceReader::new(gpu, options.size)?;
    let mut scratch = Scratch::new(options.size)?;
    let mut choices = SplitMix64::new(options.seed);
    let mut live = Vec::new();
    for _ in 0..options.live {
        live.push(Filled::new(
            gpu,
            &template,
            choices.next_word(),
            &mut scratch.expected,
        )?);
    }
    let (mut clock, mut iterations) = (WorkClock::new(), 0u64);
    let mut heartbeat = Ticker::new(Duration::from_secs(1));
    while clock.step() < options.time && options.iterations.is_none_or(|most| iterations < most) {
        let old = choices.below(live.len());
        live[old].verify(&mut scratch)?;
        let seed = choices.next_word();
        // The old one goes first: the new one may then take its place.
        drop(live.swap_remove(old));
        live.push(Filled::new(gpu, &template, seed, &mut scratch.expected)?);
        let other = choices.below(live.len());
        if iterations % DEVICE_EVERY == 0 {
            live[other].verify_on_device(&reader, &mut scratch)?;
        } else {
            live[other].verify(&mut scratch)?;
        }
        iterations += 1;
        if heartbeat.due() {
            println!("alive {iterations}");
        }
    }
    for allocation in &live {
        allocation.verify(&mut scratch)?;
    }
    Ok(format!(
        "{iterations} iterations over {} allocations of {} bytes",
        live.len(),
        options.size
    ))
}
