//! Displays come, go and change their size while the guest runs.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::app::shell;
use super::failure::{Failure, expect};
use super::report::Verdict;
use super::rig::Rig;
use super::wait::until;

/// Prints what each output shows best. Detection looks at what the driver has noted; it asks the device only when it is
/// interrupted, and the console's own look leaves out modes larger than its picture.
const OUTPUTS: &str = "for output in /sys/class/drm/card0-*; do \
                       echo detect >$output/status; \
                       echo $(cat $output/status) $(head -n 1 $output/modes); done";

/// Outputs of the device, see [`super::rig::Setup::Outputs`].
const OUTPUT_COUNT: usize = 3;

/// How long the driver may take to see a change.
const NOTICE: Duration = Duration::from_secs(30);

/// Changes in the middle of pauses and resets.
const CHANGES: u32 = 40;
const CHANGES_A_PAUSE: u32 = 4;
const RESETS: u32 = 3;
const CHANGES_A_RESET: u32 = 5;

/// The guest hears of each change by an interrupt, also of one made while it was paused; changes amid pauses and resets
/// end with the last one.
pub fn follows(rig: &mut Rig<'_>) -> Result<Verdict, Failure> {
    sees(rig, &["1280x800"])?;
    let began = Instant::now();
    let steps: [&[&str]; 4] = [
        &["1920x1080"],
        &["1920x1080", "1280x1024"],
        &["1920x1080", "7680x4320", "640x480"],
        &["1024x768"],
    ];
    for displays in steps {
        plug(rig, displays)?;
        sees(rig, displays)?;
    }
    let each = began.elapsed() / 4;

    rig.vm.qmp("stop", Value::Null)?;
    plug(rig, &["1600x900", "800x600"])?;
    rig.vm.qmp("cont", Value::Null)?;
    sees(rig, &["1600x900", "800x600"])?;

    for change in 0..CHANGES {
        plug(rig, &[&mode(change)])?;
        if change % CHANGES_A_PAUSE == 0 {
            rig.vm.qmp("stop", Value::Null)?;
            rig.vm.qmp("cont", Value::Null)?;
        }
    }
    sees(rig, &[&mode(CHANGES - 1)])?;
    rig.is_clean()?;

    for reset in 0..RESETS {
        rig.vm.qmp("system_reset", Value::Null)?;
        for change in 0..CHANGES_A_RESET {
            plug(rig, &[&mode(10 * reset + change)])?;
        }
        rig.boot()?;
        // The kernel's log ends with its boot.
        rig.is_clean()?;
    }
    sees(rig, &[&mode(10 * (RESETS - 1) + CHANGES_A_RESET - 1)])?;
    plug(rig, &["1280x800"])?;
    sees(rig, &["1280x800"])?;
    rig.is_clean()?;
    Ok(Verdict::Passed(format!(
        "{:.0} ms a change; {CHANGES} changes with pauses, {RESETS} resets amid changes",
        each.as_secs_f32() * 1000.0
    )))
}

/// A mode that no other number has.
fn mode(number: u32) -> String {
    format!("{}x600", 800 + 8 * number)
}

/// Plugs in these displays and no others, as a user does.
fn plug(rig: &mut Rig<'_>, displays: &[&str]) -> Result<(), Failure> {
    Ok(rig.coherd.reload(&format!("display = {displays:?}\n"))?)
}

/// Waits until the guest's driver knows these displays and no others.
fn sees(rig: &Rig<'_>, displays: &[&str]) -> Result<(), Failure> {
    until("the driver to see its displays", NOTICE, || {
        let said = shell(&rig.vm, OUTPUTS)?;
        let outputs: Vec<&str> = said.lines().collect();
        expect(outputs.len() == OUTPUT_COUNT, || {
            format!("the guest has other outputs: {said}")
        })?;
        let right = outputs.iter().enumerate().all(|(index, output)| {
            let (status, mode) = output.split_once(' ').unwrap_or((output, ""));
            match displays.get(index) {
                Some(display) => (status, mode) == ("connected", display),
                None => status == "disconnected",
            }
        });
        Ok(if right {
            Ok(())
        } else {
            Err(format!("it saw {outputs:?} instead of {displays:?}"))
        })
    })
}
