//! Memory that a guest shares with the GPU.

use super::app::verdict;
use super::failure::Failure;
use super::report::Verdict;
use super::rig::Rig;

/// What the CPU writes, the GPU reads, and the other way round.
pub fn roundtrip(rig: &mut Rig<'_>) -> Result<Verdict, Failure> {
    verdict_of(rig, "roundtrip")
}

/// The first write to a fresh map is never lost, though QEMU 11.1 answers before the map is there.
pub fn fresh_maps(rig: &mut Rig<'_>) -> Result<Verdict, Failure> {
    verdict_of(rig, "fresh-maps --count 8000")
}

fn verdict_of(rig: &Rig<'_>, check: &str) -> Result<Verdict, Failure> {
    let said = rig.run("vk-memory", check)?;
    Ok(Verdict::Passed(verdict(&said).to_owned()))
}
