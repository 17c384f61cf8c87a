//! What commands to the host cost.

use std::error::Error;
use std::time::Instant;

use serde::Serialize;

use crate::tool::measure::{median, rate};
use crate::tool::probe::Probe;
use crate::{AccessError, Allocation, Context, Mapping};

/// Sizes whose brackets are measured.
const SIZES: [usize; 5] = [4 << 10, 64 << 10, 1 << 20, 16 << 20, 64 << 20];

/// Guards that are opened for one measurement where they cost nothing.
const GUARDS: u32 = 1000;

/// What an access of so many bytes costs beyond the bytes, in microseconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BracketCost {
    /// Bytes of the access.
    pub size: usize,
    /// Beginning and ending it to read.
    pub read_us: f64,
    /// Beginning and ending it to write.
    pub write_us: f64,
}

/// Bytes a second of the GPU.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GpuRates {
    /// Of copies from one allocation to another.
    pub copy: f64,
    /// Of fills.
    pub fill: f64,
}

/// How long the host takes to do nothing, in microseconds.
pub fn round_trip(context: &Context, rounds: u32) -> Result<f64, Box<dyn Error>> {
    let mut times = Vec::new();
    for _ in 0..rounds.saturating_mul(10) {
        let begun = Instant::now();
        context.wait_idle()?;
        times.push(microseconds(begun, 1));
    }
    Ok(median(times))
}

/// What guards of a type cost.
pub fn brackets(probe: &Probe, rounds: u32) -> Result<Vec<BracketCost>, AccessError> {
    let sizes = SIZES
        .into_iter()
        .filter(|size| *size <= probe.mapping.len());
    let repeat = match probe.kind.needs_sync {
        true => 1,
        false => GUARDS,
    };
    sizes
        .map(|size| {
            Ok(BracketCost {
                size,
                read_us: cost(rounds, repeat, || read(&probe.mapping, size))?,
                write_us: cost(rounds, repeat, || write(&probe.mapping, size))?,
            })
        })
        .collect()
}

fn read(mapping: &Mapping, size: usize) -> Result<(), AccessError> {
    mapping.read(..size)?.end()
}

fn write(mapping: &Mapping, size: usize) -> Result<(), AccessError> {
    mapping.write(..size)?.end()
}

fn cost<E>(rounds: u32, repeat: u32, access: impl Fn() -> Result<(), E>) -> Result<f64, E> {
    let mut times = Vec::new();
    for _ in 0..rounds {
        let begun = Instant::now();
        for _ in 0..repeat {
            access()?;
        }
        times.push(microseconds(begun, repeat));
    }
    Ok(median(times))
}

/// How fast the GPU copies and fills.
pub fn gpu(
    context: &Context,
    from: &Allocation,
    to: &Allocation,
    rounds: u32,
) -> Result<GpuRates, Box<dyn Error>> {
    let size = from.size().min(to.size());
    let len = usize::try_from(size).unwrap_or(usize::MAX);
    let (mut copies, mut fills) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let begun = Instant::now();
        context.fill(from.at(0), size, 0x5a5a_5a5a)?.wait()?;
        fills.push(rate(len, begun));
        let begun = Instant::now();
        context.copy(from.at(0), to.at(0), size)?.wait()?;
        copies.push(rate(len, begun));
    }
    Ok(GpuRates {
        copy: median(copies),
        fill: median(fills),
    })
}

fn microseconds(begun: Instant, repeat: u32) -> f64 {
    begun.elapsed().as_secs_f64() * 1e6 / f64::from(repeat)
}
