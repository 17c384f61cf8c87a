//! Allocations that just stay, for tests of what happens when their owner is killed.

use std::io::{self, Read};
use std::thread;
use std::time::Duration;

use super::allocation::{Filled, Scratch, Template};
use super::error::CheckError;
use crate::guest::Gpu;

/// What to do.
#[derive(Clone, Copy, Debug)]
pub struct Hold {
    /// Allocations.
    pub live: usize,
    /// Bytes of each.
    pub size: u64,
    /// How long; until the end of standard input when absent.
    pub time: Option<Duration>,
    /// The memory type.
    pub type_index: Option<u32>,
}

/// Allocates, fills, prints `holding`, waits, and checks all bytes at the end.
///
/// No signal is handled: one that kills must find everything still allocated.
pub fn hold(gpu: &Gpu, options: &Hold) -> Result<String, CheckError> {
    Template::check_live(gpu, options.live)?;
    let template = Template::new(gpu, options.size, options.type_index)?;
    let mut scratch = Scratch::new(options.size)?;
    let mut live = Vec::new();
    for seed in (0..).take(options.live) {
        live.push(Filled::new(gpu, &template, seed, &mut scratch.expected)?);
    }
    println!("holding");
    match options.time {
        Some(time) => thread::sleep(time),
        None => wait_for_end(&mut io::stdin())?,
    }
    for allocation in &live {
        allocation.verify(&mut scratch)?;
    }
    Ok(format!(
        "held {} allocations of {} bytes",
        live.len(),
        options.size
    ))
}

fn wait_for_end(input: &mut impl Read) -> Result<(), CheckError> {
    let failed = |source| CheckError::System {
        call: "Reading standard input",
        source,
    };
    io::copy(input, &mut io::sink()).map_err(failed)?;
    Ok(())
}
