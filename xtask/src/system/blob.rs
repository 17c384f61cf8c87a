//! The blob context: memory that a guest's program asks for by property, through the library and
//! the tool of `guest/`.

use super::app::{App, verdict};
use super::failure::Failure;
use super::report::Verdict;
use super::rig::Rig;
use crate::coherd::program;

/// The tool, which tells in its last line how it went.
const TOOL: &str = "coherd-guest";

/// How slow a mapped blob of a cached type may be, as a part of what ordinary memory of the same
/// guest gives in the same loops.
const BANDWIDTH: &str = "bench --expect-ratio 0.95";

/// A guest learns what the host offers, and finds its promises kept.
pub fn info(rig: &mut Rig<'_>) -> Result<Verdict, Failure> {
    passes(rig, "info")
}

/// Memory, brackets, copies, images and sharing work, and mistakes harm nobody.
pub fn selftest(rig: &mut Rig<'_>) -> Result<Verdict, Failure> {
    passes(rig, "selftest")
}

/// A mapped blob is as fast as other memory of the guest.
pub fn bandwidth(rig: &mut Rig<'_>) -> Result<Verdict, Failure> {
    passes(rig, BANDWIDTH)
}

/// On a host whose memory is not coherent a guest sees everything in brackets, and without them
/// nothing.
pub fn incoherent(rig: &mut Rig<'_>) -> Result<Verdict, Failure> {
    let bracketed = run(rig, "selftest")?;
    let bare = run(rig, "selftest --expect-stale")?;
    Ok(Verdict::Passed(format!(
        "{}; without brackets {}",
        verdict(&bracketed),
        verdict(&bare)
    )))
}

fn passes(rig: &Rig<'_>, arguments: &str) -> Result<Verdict, Failure> {
    let said = run(rig, arguments)?;
    Ok(Verdict::Passed(verdict(&said).to_owned()))
}

fn run(rig: &Rig<'_>, arguments: &str) -> Result<String, Failure> {
    let line = format!("{} {arguments}", program(TOOL).display());
    App::start(&rig.vm, line)?.succeeds()
}
