//! Fences in the guest's kernel, which programs wait for by sync files.

use std::time::{Duration, Instant};

use super::app::{App, verdict};
use super::failure::Failure;
use super::process;
use super::report::Verdict;
use super::rig::Rig;
use super::wait::until;
use crate::coherd::Coherd;

const COUNT: &str = "--count 20";
const ENDLESS: &str = "--count 1000000";

const PENDING: Duration = Duration::from_secs(30);

/// A fence is signalled when the work is done, and no wait outlives its program or its worker.
pub fn sync_files(rig: &mut Rig<'_>) -> Result<Verdict, Failure> {
    let said = rig.run("vk-sync", COUNT)?;

    let killed = App::venus(&rig.vm, "vk-sync", ENDLESS)?;
    killed.works_on(0)?;
    let fences = pending(&mut rig.coherd)?;
    killed.kill()?;
    let gone = rig.lets_go()?;

    let waiter = App::venus(&rig.vm, "vk-sync", ENDLESS)?;
    let worker = rig.new_worker(&[])?;
    waiter.works_on(0)?;
    pending(&mut rig.coherd)?;
    process::kill(worker)?;
    let began = Instant::now();
    waiter.fails()?;
    let ended = began.elapsed();
    rig.lets_go()?;
    Ok(Verdict::Passed(format!(
        "{}; {fences} pending when killed, gone after {:.1} s; a wait ended {:.1} s after its worker",
        verdict(&said),
        gone.as_secs_f32(),
        ended.as_secs_f32()
    )))
}

/// Waits until the guest waits for the GPU, and returns for how many fences.
fn pending(coherd: &mut Coherd) -> Result<u64, Failure> {
    until("a pending fence", PENDING, || {
        let fences = coherd.holdings()?.fences;
        Ok((fences > 0)
            .then_some(fences)
            .ok_or_else(|| "there was none".to_owned()))
    })
}
