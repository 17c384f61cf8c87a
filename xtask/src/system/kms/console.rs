//! The kernel's console, which draws text into a framebuffer of the card.

use crate::system::app::shell;
use crate::system::failure::{Failure, expect};
use crate::vm::Vm;

/// More lines than a screen has rows.
const LINES: u32 = 150;

/// Writes until it scrolls, switches to another terminal and back, and turns the screen off and on.
pub fn is_used(vm: &Vm) -> Result<(), Failure> {
    let blank = "/sys/class/graphics/fb0/blank";
    let dpms = "/sys/class/drm/card0-Virtual-1/dpms";
    let script = format!(
        "set -e
         for line in $(seq {LINES}); do echo \"line $line of {LINES}\"; done >/dev/tty1
         busybox chvt 2
         echo the second terminal >/dev/tty2
         busybox chvt 1
         echo 4 >{blank}; cat {dpms}
         echo 0 >{blank}; cat {dpms}"
    );
    let power = shell(vm, &script)?;
    expect(power == "Off\nOn\n", || {
        format!("the screen does not go off and on: {power}")
    })
}
