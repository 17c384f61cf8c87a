//! Pauses, resets and reboots of a guest that has maps.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::app::App;
use super::failure::{Failure, expect};
use super::process;
use super::report::Verdict;
use super::rig::Rig;
use super::wait::until;

const CYCLES: u32 = 100;
/// After so many cycles the program has to show that it gets on.
const CYCLES_A_BEAT: u32 = 10;
/// How often coherd's threads run before the next cycle: a few maps, so that a pause comes amid the next.
const WORK: u64 = 30;
/// A load that pauses do not make longer; the next one begins when it has checked its bytes.
const LOAD: &str = "churn --seconds 15 --live 48";

const RESETS: u32 = 5;
const ENDLESS_LOAD: &str = "churn --seconds 100000 --live 24";
const ENDLESS_HOLD: &str = "hold --seconds 100000 --live 24";

const EVENT: Duration = Duration::from_secs(60);

/// A guest that maps and unmaps all the time may be paused at any moment.
pub fn stop_cont(rig: &mut Rig<'_>) -> Result<Verdict, Failure> {
    let (mut cycles, mut loads, mut paused) = (0, 0, Duration::ZERO);
    let began = Instant::now();
    while cycles < CYCLES {
        let load = App::venus(&rig.vm, "vk-memory", LOAD)?;
        let mut beat = load.works_on(0)?;
        loads += 1;
        while cycles < CYCLES && load.is_running()? {
            paused += pause(rig)?;
            cycles += 1;
            let goes_on = goes_on(rig, &load)?;
            if goes_on && cycles.is_multiple_of(CYCLES_A_BEAT) {
                match load.works_on(beat) {
                    Ok(now) => beat = now,
                    Err(_) if !load.is_running()? => {}
                    Err(error) => return Err(error),
                }
            }
        }
        load.succeeds()?;
    }
    let caught = rig.coherd.log().matches("waits for the device").count();
    Ok(Verdict::Passed(format!(
        "{CYCLES} cycles in {:.1} s under {loads} loads, {:.0} ms each way, {caught} caught a request",
        began.elapsed().as_secs_f32(),
        paused.as_secs_f32() * 1000.0 / (2.0 * CYCLES as f32),
    )))
}

/// One pause, and how long QEMU took for it.
fn pause(rig: &Rig<'_>) -> Result<Duration, Failure> {
    let began = Instant::now();
    for (command, event) in [("stop", "STOP"), ("cont", "RESUME")] {
        rig.vm.qmp(command, Value::Null)?;
        rig.vm.wait_event(event, EVENT)?;
    }
    Ok(began.elapsed())
}

/// Waits until coherd has worked again; false if the program ended instead.
fn goes_on(rig: &Rig<'_>, load: &App<'_>) -> Result<bool, Failure> {
    let coherd = rig.coherd.pid();
    let before = process::switches(coherd)?;
    until("work for coherd after a pause", EVENT, || {
        let now = process::switches(coherd)?;
        if now >= before + WORK {
            return Ok(Ok(true));
        }
        if !load.is_running()? {
            return Ok(Ok(false));
        }
        Ok(Err(format!("its threads had run {} times", now - before)))
    })
}

/// A guest that maps and unmaps all the time may be reset at any moment, and leaves nothing behind. The load of the
/// next round shows that the GPU works.
pub fn resets(rig: &mut Rig<'_>) -> Result<Verdict, Failure> {
    let began = Instant::now();
    for _ in 0..RESETS {
        App::venus(&rig.vm, "vk-memory", ENDLESS_LOAD)?.works_on(0)?;
        rig.vm.qmp("system_reset", Value::Null)?;
        rig.vm.wait_event("RESET", EVENT)?;
        rig.boot()?;
        rig.lets_go()?;
    }
    rig.works()?;
    Ok(Verdict::Passed(format!(
        "{RESETS} resets in {:.1} s",
        began.elapsed().as_secs_f32()
    )))
}

/// A reboot from inside leaves nothing of a program behind that held maps.
pub fn reboot_with_maps(rig: &mut Rig<'_>) -> Result<Verdict, Failure> {
    App::venus(&rig.vm, "vk-memory", ENDLESS_HOLD)?.prints("holding")?;
    let held = rig.coherd.holdings()?;
    expect(held.mappings > rig.idle.mappings, || {
        format!("the program that holds maps has none: {held:?}")
    })?;
    rig.vm.spawn("reboot -f || busybox reboot -f")?;
    rig.boot()?;
    let time = rig.lets_go()?;
    rig.works()?;
    Ok(Verdict::Passed(format!(
        "{} mappings and {} resources gone {:.1} s after the boot",
        held.mappings,
        held.resources,
        time.as_secs_f32()
    )))
}
