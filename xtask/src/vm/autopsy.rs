//! What a guest that does not go on waits for.

use std::fmt::Write as _;
use std::io::Write as _;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Vm, VmError};

/// Makes a guest's kernel answer all keys that follow a break on its console.
pub const KERNEL_ARGUMENTS: &str = "sysrq_always_enabled";

const LOUD: u8 = b'9';
const LIST: u8 = b't';
const QUIET: u8 = b'4';

/// The kernel writes some thousand lines to a slow console.
const ANSWER: Duration = Duration::from_secs(30);

/// Lines of stacks that an error shows; the console's log has all.
const LINES: usize = 400;

impl Vm {
    /// Where each queue of QEMU's own virtio devices stands, and the stacks of the guest's programs.
    #[must_use]
    pub fn autopsy(&self) -> String {
        format!("{}{}", self.queues(), self.stacks())
    }

    /// A line for each queue that was ever used; where a request hangs, the numbers differ.
    fn queues(&self) -> String {
        let mut report = String::new();
        let devices = self.qmp("x-query-virtio", Value::Null).unwrap_or_default();
        for device in devices.as_array().into_iter().flatten() {
            for queue in 0.. {
                let asked = json!({ "path": device["path"], "queue": queue });
                let Ok(status) = self.qmp("x-query-virtio-queue-status", asked) else {
                    break;
                };
                if status["last-avail-idx"] != 0 || status["used-idx"] != 0 {
                    // Writing to a string does not fail.
                    let _ = writeln!(
                        report,
                        "{} queue {queue}: taken {} of {}, used {}, signalled {}, in use {}",
                        device["name"].as_str().unwrap_or_default(),
                        status["last-avail-idx"],
                        status["shadow-avail-idx"],
                        status["used-idx"],
                        status["signalled-used"],
                        status["inuse"]
                    );
                }
            }
        }
        report
    }

    fn stacks(&self) -> String {
        // The list is of no interest to a quiet console.
        let report = self
            .press(LOUD, "Loglevel set to 9")
            .and_then(|_| self.press(LIST, "Showing busy workqueues"));
        // What this guest says later does not count.
        let _ = self.press(QUIET, "Loglevel set to 4");
        report.map_or_else(
            |error| format!("no stacks: {error}"),
            |text| programs(&text),
        )
    }

    /// Presses a key after a break, and returns what the kernel says until it says `end`. A break that comes before
    /// the last key was read takes that one's meaning away.
    fn press(&self, key: u8, end: &str) -> Result<String, VmError> {
        let before = self.console().len();
        self.qmp("chardev-send-break", json!({ "id": "console" }))?;
        (&self.keys)
            .write_all(&[key])
            .map_err(VmError::io("press a key in the guest"))?;
        let deadline = Instant::now() + ANSWER;
        loop {
            // A file that grows has no event.
            thread::sleep(Duration::from_millis(50));
            let said = self.console().split_off(before);
            if said.contains(end) {
                return Ok(said);
            }
            if Instant::now() > deadline {
                return Err(self.qemu.timeout("an answer to a key", ANSWER));
            }
        }
    }
}

/// The tasks of a kernel's report that are programs, whose parent is not the kernel's thread 2, and their stacks.
fn programs(report: &str) -> String {
    let mut wanted = false;
    let lines = report.lines().filter(|line| {
        if let Some((_, rest)) = line.split_once("ppid:") {
            wanted = rest.split_whitespace().next() != Some("2");
            return wanted;
        }
        // A question mark is a guess of the kernel's.
        wanted && line.contains("+0x") && !line.contains("? ")
    });
    lines.take(LINES).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stacks_of_kernel_threads_are_left_out() {
        let report = "sysrq: Show State\n\
                      task:kthreadd        state:S stack:0     pid:2     tgid:2     ppid:0      flags:0x0\n\
                      task:kworker/0:1     state:I stack:0     pid:9     tgid:9     ppid:2      flags:0x0\n\
                      \u{20}kernel_stack+0x1/0x2\n\
                      task:drm_info        state:D stack:0     pid:90    tgid:90    ppid:1      flags:0x0\n\
                      \u{20}p9_client_rpc+0x1/0x2\n\
                      \u{20}? guess+0x1/0x2";
        let shown = programs(report);
        assert!(shown.contains("drm_info") && shown.contains("p9_client_rpc"));
        assert!(
            !shown.contains("kworker")
                && !shown.contains("kernel_stack")
                && !shown.contains("guess")
        );
    }
}
