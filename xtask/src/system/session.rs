//! A guest's whole session, from its first message to its last, with its kernel's debug messages on.

use std::time::Duration;

use super::app::{App, shell};
use super::failure::{Failure, expect};
use super::kernel_log::{console_is_clean, mark};
use super::kms::{Card, console, modetest};
use super::quiet::STOP_BLINKING;
use super::report::Verdict;
use super::rig::Rig;
use super::scene::{DRAWING, ENDLESS, Scene};
use super::sharing::{SHORT, score, vkmark};
use super::wait::until;

const END: Duration = Duration::from_secs(60);

/// Unloads the driver, which its console holds on to, and loads it again.
const RELOAD: &str = "set -e
    for console in /sys/class/vtconsole/*; do
        if grep -q 'frame buffer' $console/name; then echo 0 >$console/bind; fi
    done
    rmmod virtio_gpu
    modprobe virtio_gpu
    until test -e /sys/class/graphics/fb0; do busybox sleep 0.1; done";

/// The kernel's last words, KERN_EMERG.
const REBOOTS: &str = "reboot: Restarting system";
const POWERS_DOWN: &str = "reboot: Power down";

/// Neither the guest's kernel nor coherd has anything to complain of, from boot to shutdown.
pub fn kernel_log(rig: &mut Rig<'_>) -> Result<Verdict, Failure> {
    mark(&rig.vm, "console")?;
    console::is_used(&rig.vm)?;

    mark(&rig.vm, "modeset")?;
    let card = Card::find(&rig.vm)?;
    modetest::flips(&rig.vm, &card, true)?;

    mark(&rig.vm, "vkmark")?;
    let benchmark = App::start(&rig.vm, vkmark(SHORT))?.succeeds()?;

    mark(&rig.vm, "a program is killed")?;
    let scene = Scene::start(&rig.vm, "killed", ENDLESS)?;
    scene.app().prints(DRAWING)?;
    scene.app().kill()?;
    rig.lets_go()?;

    mark(&rig.vm, "driver is reloaded")?;
    shell(&rig.vm, RELOAD)?;
    rig.lets_go()?;
    let log = rig.is_clean()?;

    last_words(rig, "reboot -f", REBOOTS)?;
    rig.boot()?;
    rig.lets_go()?;
    rig.works()?;
    let second = rig.is_clean()?;

    last_words(rig, "poweroff -f", POWERS_DOWN)?;
    let status = rig.coherd.wait(END)?;
    let warnings = rig.coherd.warnings();
    expect(status.success() && warnings.is_empty(), || {
        format!("coherd ended with {status} and {warnings:?}")
    })?;
    Ok(Verdict::Passed(format!(
        "{} debug messages and no fault; vkmark {}",
        log.debug_messages() + second.debug_messages(),
        score(&benchmark)
    )))
}

/// Ends the kernel's life and checks what it says on the console meanwhile, with all its levels shown there.
fn last_words(rig: &Rig<'_>, command: &str, word: &str) -> Result<(), Failure> {
    // Linux 6.12 breaks the queues of a device before it ends, and warns where its console draws then.
    shell(&rig.vm, STOP_BLINKING)?;
    let before = rig.vm.console().len();
    rig.vm
        .spawn(&format!("busybox dmesg -n 8; busybox {command}"))?;
    until(word, END, || {
        let console = rig.vm.console();
        let said = console.get(before..).unwrap_or_default();
        Ok(if said.contains(word) {
            Ok(console_is_clean(said))
        } else {
            Err(format!("its console showed {said:?}"))
        })
    })?
}
