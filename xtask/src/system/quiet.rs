//! An idle guest costs nothing, and a stopped one leaves nothing.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::app::{App, shell};
use super::failure::{Failure, expect};
use super::process;
use super::report::Verdict;
use super::rig::Rig;
use super::wait::until;

/// The length of the silence that is measured.
const WINDOW: Duration = Duration::from_secs(5);
/// A guest that has just booted settles within a few such windows.
const WINDOWS: u32 = 6;

const END: Duration = Duration::from_secs(30);

/// Has the guest's console show its cursor all the time.
pub const STOP_BLINKING: &str = "echo 0 >/sys/class/graphics/fbcon/cursor_blink";

/// Neither coherd nor its render server wakes up for a guest that does nothing.
pub fn idle(rig: &mut Rig<'_>) -> Result<Verdict, Failure> {
    // The console blinks a cursor, and each time is work that the guest asked for.
    shell(&rig.vm, STOP_BLINKING)?;
    let processes = [rig.coherd.pid(), rig.render_server()?];
    let mut counts = Vec::new();
    for _ in 0..WINDOWS {
        let before = switches(&processes)?;
        thread::sleep(WINDOW);
        let after = switches(&processes)?;
        if before == after {
            return Ok(Verdict::Passed(format!(
                "0 switches in {} s{}",
                WINDOW.as_secs(),
                if counts.is_empty() {
                    String::new()
                } else {
                    format!(" after {counts:?}")
                }
            )));
        }
        counts.push([after[0] - before[0], after[1] - before[1]]);
    }
    Err(Failure::Wrong(format!(
        "threads of coherd and of its render server ran in every {} s: {counts:?}",
        WINDOW.as_secs()
    )))
}

fn switches(processes: &[u32; 2]) -> Result<[u64; 2], Failure> {
    Ok([
        process::switches(processes[0])?,
        process::switches(processes[1])?,
    ])
}

/// coherd ends with its VM, in the middle of things, and takes everything along.
pub fn quits(rig: &mut Rig<'_>) -> Result<Verdict, Failure> {
    App::venus(&rig.vm, "vk-memory", "hold --seconds 100000 --live 8")?.prints("holding")?;
    let server = rig.render_server()?;
    let worker = rig.new_worker(&[])?;
    rig.vm.qmp("quit", Value::Null)?;
    let began = Instant::now();
    let status = rig.coherd.wait(END)?;
    let time = began.elapsed();
    expect(status.success(), || format!("coherd ended with {status}"))?;
    expect(!rig.coherd.socket().exists(), || {
        "coherd left its socket behind".to_owned()
    })?;
    until("the end of the render server", END, || {
        let left: Vec<u32> = [server, worker]
            .into_iter()
            .filter(|pid| process::is_running(*pid))
            .collect();
        Ok(if left.is_empty() {
            Ok(())
        } else {
            Err(format!("processes {left:?} ran"))
        })
    })?;
    Ok(Verdict::Passed(format!(
        "after {:.1} s, with status 0",
        time.as_secs_f32()
    )))
}
