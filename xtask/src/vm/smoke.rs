//! The driver on its own: boot, commands, reboot and stop of a guest, by default without a GPU.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Vm, VmError};
use crate::lab::Lab;
use crate::progress::Progress;

/// Boots take seconds; a busy machine without KVM may need a multiple.
const BOOT: Duration = Duration::from_secs(120);
const COMMAND: Duration = Duration::from_secs(30);

/// Why the driver does not work.
#[derive(Debug, thiserror::Error)]
pub enum SmokeError {
    /// A step failed.
    #[error(transparent)]
    Vm(#[from] VmError),
    /// A step had another result than it should.
    #[error("{step} gave {got}, which should not be; look into the VM driver")]
    Unexpected {
        /// What was done.
        step: &'static str,
        /// What came of it.
        got: String,
    },
}

/// Puts one guest through its paces; with `keep`, hands it to the user before the end.
pub fn run(
    lab: &Lab,
    gpu: Option<PathBuf>,
    keep: bool,
    progress: &Progress,
) -> Result<(), SmokeError> {
    progress.say("starting a guest");
    let mut builder = Vm::builder(lab);
    if let Some(socket) = gpu {
        builder = builder.gpu_socket(socket);
    }
    let vm = builder.start(progress)?;
    boot(&vm, "the guest booted", progress)?;
    commands(&vm, progress)?;

    progress.say("asking it what its programs wait for");
    let found = vm.autopsy();
    let whole = ["virtio-9p queue 0: ", "task:busybox"]
        .iter()
        .all(|part| found.contains(part));
    expect("an autopsy", whole, || found)?;

    progress.say("resetting it from outside");
    let lost = vm.spawn("sleep 1000")?;
    vm.qmp("system_reset", Value::Null)?;
    vm.wait_event("RESET", COMMAND)?;
    boot(&vm, "it came back", progress)?;
    let result = lost.wait(COMMAND);
    expect(
        "a command over a reboot",
        matches!(result, Err(VmError::Rebooted { .. })),
        || format!("{result:?}"),
    )?;

    progress.say("rebooting it from inside");
    vm.spawn("reboot -f || busybox reboot -f")?;
    boot(&vm, "it came back", progress)?;
    commands(&vm, progress)?;

    vm.qmp("stop", Value::Null)?;
    let status = vm.qmp("query-status", Value::Null)?;
    expect("stop", status["status"] == "paused", || status.to_string())?;
    vm.qmp("cont", Value::Null)?;
    commands(&vm, progress)?;

    if keep {
        progress.say("a shell in the guest; leave it to go on");
        vm.interact()?;
    }
    let quit = Instant::now();
    vm.stop();
    progress.say(&format!(
        "it is off, {:.1} s after it was told",
        quit.elapsed().as_secs_f32()
    ));
    Ok(())
}

fn boot(vm: &Vm, what: &str, progress: &Progress) -> Result<(), SmokeError> {
    let began = Instant::now();
    let _waiting = progress.waiting("booting the guest");
    vm.wait_ready(BOOT)?;
    progress.say(&format!(
        "{what} after {:.1} s ({:?})",
        began.elapsed().as_secs_f32(),
        vm.accel()
    ));
    Ok(())
}

fn commands(vm: &Vm, progress: &Progress) -> Result<(), SmokeError> {
    let slow = vm.spawn("sleep 1000; echo woken")?;
    let began = Instant::now();
    let kernel = vm.run("uname -r; test -f /src/Cargo.lock -a -w /share", COMMAND)?;
    let taken = began.elapsed().as_secs_f32();
    expect("uname", kernel.status == 0, || format!("{kernel:?}"))?;
    progress.say(&format!(
        "a command in it took {taken:.2} s: kernel {}",
        kernel.log.trim()
    ));
    let failed = vm.run("echo out; echo err >&2; exit 7", COMMAND)?;
    expect(
        "a failing command",
        failed.status == 7 && failed.log == "out\nerr\n",
        || format!("{failed:?}"),
    )?;
    slow.kill()?;
    let killed = slow.wait(COMMAND)?;
    expect("a killed command", killed.status == 137, || {
        format!("{killed:?}")
    })
}

fn expect(step: &'static str, met: bool, got: impl FnOnce() -> String) -> Result<(), SmokeError> {
    if met {
        return Ok(());
    }
    Err(SmokeError::Unexpected { step, got: got() })
}
