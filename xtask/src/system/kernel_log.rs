//! What the guest's kernel says, DRM's debug messages included, and which of its lines tell of a fault.

use super::app::shell;
use super::failure::{Failure, expect};
use crate::vm::Vm;

/// Kernel arguments for a log that shows what DRM does: its core, with which virtio_gpu files its own messages (1),
/// drivers (2), mode setting (4), shared buffers (8) and atomic commits (16). The buffer holds a guest's whole life.
pub const ARGUMENTS: &str = "drm.debug=0x1f log_buf_len=16M";

/// How a mark begins; the name of the phase follows.
const MARK: &str = "lab phase: ";

/// The phase before the first mark.
const BOOT: &str = "boot";

/// EAGAIN: how a read behind the last line ends. One that lines were lost to ends with EPIPE.
const READ_ALL: &str = "Resource temporarily unavailable";

/// KERN_WARNING: lines of the graphics stack of this level or a more severe one tell of a fault. Others blame the
/// emulated machine.
const WARNING: u8 = 4;
/// KERN_DEBUG
const DEBUG: u8 = 7;

/// Words by which the graphics stack is known.
const GRAPHICS: [&str; 4] = ["drm", "virtio", "fbcon", "[TTM]"];

/// Words that tell of a fault of anything, whatever the level of their line.
const FAULTS: [&str; 9] = [
    "*ERROR*",
    // virtio_gpu on an error response, VIRTIO 1.4 section 5.7.6.7.
    "response 0x12",
    "WARNING:",
    "BUG:",
    "Oops",
    "Call Trace",
    "timed out",
    // The watchdog for hung tasks.
    "blocked for more than",
    "Kernel panic",
];

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Line<'a> {
    /// 0, KERN_EMERG, to 7, KERN_DEBUG. The console does not show it.
    level: Option<u8>,
    text: &'a str,
}

impl<'a> Line<'a> {
    /// A line of /dev/kmsg with its sequence number, Documentation/ABI/testing/dev-kmsg of Linux; `None` for what
    /// continues a record.
    fn of_record(line: &'a str) -> Option<(u64, Self)> {
        let (prefix, text) = line.split_once(';')?;
        let mut fields = prefix.split(',');
        let priority: u16 = fields.next()?.parse().ok()?;
        let sequence = fields.next()?.parse().ok()?;
        // The facility is above the level.
        let level = u8::try_from(priority & 7).ok();
        Some((sequence, Self { level, text }))
    }

    fn is_fault(&self) -> bool {
        let has = |words: &[&str]| words.iter().any(|word| self.text.contains(word));
        has(&FAULTS) || self.level.is_some_and(|level| level <= WARNING) && has(&GRAPHICS)
    }

    fn is_debug(&self) -> bool {
        self.level == Some(DEBUG) && self.text.contains("[drm")
    }
}

/// What the kernel said while one thing was done.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Phase {
    name: String,
    /// Debug messages of DRM.
    debug: usize,
    faults: Vec<String>,
}

impl Phase {
    fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            debug: 0,
            faults: Vec::new(),
        }
    }

    fn add(&mut self, line: &Line<'_>) {
        self.debug += usize::from(line.is_debug());
        if line.is_fault() {
            self.faults.push(format!("{}: {}", self.name, line.text));
        }
    }
}

/// The log of a guest since its boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelLog {
    phases: Vec<Phase>,
}

impl KernelLog {
    /// Reads all there is so far.
    pub fn read(vm: &Vm) -> Result<Self, Failure> {
        // Each read gives one line, and cat makes fewer writes of them. The shell's own dd knows no flags.
        let script = "/usr/bin/dd if=/dev/kmsg iflag=nonblock bs=8k status=none 2>&1 | cat";
        Self::parse(&shell(vm, script)?)
    }

    fn parse(text: &str) -> Result<Self, Failure> {
        let mut log = Self {
            phases: vec![Phase::new(BOOT)],
        };
        expect(text.contains(READ_ALL), || {
            "the kernel's log was not read to its end".to_owned()
        })?;
        let records = text.lines().filter_map(Line::of_record);
        for (expected, (sequence, line)) in (0..).zip(records) {
            if sequence != expected {
                return Err(Failure::Wrong(format!(
                    "the kernel's log has lost its lines {expected} to {sequence}"
                )));
            }
            match (line.text.strip_prefix(MARK), log.phases.last_mut()) {
                (Some(name), _) => log.phases.push(Phase::new(name)),
                (None, Some(phase)) => phase.add(&line),
                (None, None) => {}
            }
        }
        Ok(log)
    }

    /// Fails if a line tells of a fault, or if some phase shows nothing of DRM and so could not tell of one.
    pub fn is_clean(&self) -> Result<(), Failure> {
        let faults: Vec<&str> = self
            .phases
            .iter()
            .flat_map(|phase| phase.faults.iter().map(String::as_str))
            .collect();
        complaints("the guest's kernel", &faults)?;
        let silent: Vec<&str> = self
            .phases
            .iter()
            .filter(|phase| phase.debug == 0)
            .map(|phase| phase.name.as_str())
            .collect();
        expect(silent.is_empty(), || {
            format!("the kernel's log shows nothing of DRM during {silent:?}")
        })
    }

    /// How many debug messages of DRM there are.
    pub fn debug_messages(&self) -> usize {
        self.phases.iter().map(|phase| phase.debug).sum()
    }
}

/// Begins a phase.
pub fn mark(vm: &Vm, phase: &str) -> Result<(), Failure> {
    shell(vm, &format!("echo '<6>{MARK}{phase}' >/dev/kmsg")).map(drop)
}

/// Fails if the console, which has no levels, tells of a fault.
pub fn console_is_clean(console: &str) -> Result<(), Failure> {
    let faults: Vec<&str> = console
        .lines()
        .filter(|text| Line { level: None, text }.is_fault())
        .collect();
    complaints("the guest's console", &faults)
}

fn complaints(who: &str, lines: &[&str]) -> Result<(), Failure> {
    expect(lines.is_empty(), || {
        format!(
            "{who} tells of {} faults:\n{}",
            lines.len(),
            lines.join("\n")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first two are from a guest of the lab.
    const FAULTY: [&str; 6] = [
        "3,456,10379333,-;[drm:virtio_gpu_dequeue_ctrl_func [virtio_gpu]] *ERROR* response 0x1200 (command 0x105)",
        "4,919,15408337,-;virtio_gpu_dequeue_ctrl_func: 20 callbacks suppressed",
        "4,700,1,-;WARNING: CPU: 0 PID: 1 at drivers/gpu/drm/drm_atomic_helper.c:1513",
        "4,701,1,-;Call Trace:",
        "3,702,1,-;INFO: task kmscube:412 blocked for more than 120 seconds.",
        "3,703,1,c;virtio-pci 0000:00:05.0: [drm] flip done came too late",
    ];

    const HARMLESS: [&str; 7] = [
        "4,182,1582204,-;mtrr: your CPUs had inconsistent fixed MTRR settings",
        "7,456,5947783,-;[drm:virtio_gpu_dequeue_ctrl_func [virtio_gpu]] response 0x1102",
        "6,457,6113173,-;virtio-pci 0000:00:05.0: [drm] fb0: virtio_gpudrmfb frame buffer device",
        "6,300,3253513,-;RAS: Correctable Errors collector initialized.",
        "3,301,3253513,-;ata1: hard resetting link",
        "4,500,551546389,-;clocksource: Long readout interval, skipping watchdog check",
        " SUBSYSTEM=pci",
    ];

    fn fault(record: &str) -> bool {
        Line::of_record(record).is_some_and(|(_, line)| line.is_fault())
    }

    fn log(records: &[&str]) -> Result<KernelLog, Failure> {
        let lines: Vec<String> = (0..)
            .zip(records)
            .map(|(number, record)| format!("{},{number},1,-;{}\n", &record[..1], &record[2..]))
            .collect();
        KernelLog::parse(&(lines.concat() + READ_ALL))
    }

    #[test]
    fn faults_are_told_from_what_a_healthy_guest_says() {
        for record in FAULTY {
            assert!(fault(record), "{record}");
        }
        for record in HARMLESS {
            assert!(!fault(record), "{record}");
        }
    }

    #[test]
    fn facility_of_a_record_does_not_hide_its_level() {
        assert!(fault("11,5,1,-;a program writes an error of drm"));
        assert!(!fault("14,5,1,-;a program writes a notice of drm"));
    }

    #[test]
    fn fault_is_told_with_its_phase() {
        let debug = "7 [drm:drm_ioctl [drm]] pid=1";
        let error = "3 [drm:virtio_gpu_dequeue_ctrl_func [virtio_gpu]] *ERROR* response 0x1203 (command 0x104)";
        let found = log(&[debug, "6 lab phase: fbcon", debug, error]);
        let failure = found.unwrap().is_clean().unwrap_err().to_string();
        assert!(failure.contains("fbcon: [drm:virtio_gpu"), "{failure}");
    }

    #[test]
    fn phase_without_debug_messages_proves_nothing() {
        let debug = "7 [drm:drm_ioctl [drm]] pid=1";
        let whole = log(&[debug, "6 lab phase: fbcon", debug]).unwrap();
        assert_eq!(whole.debug_messages(), 2);
        whole.is_clean().unwrap();
        let silent = log(&[debug, "6 lab phase: fbcon"]).unwrap();
        assert!(silent.is_clean().is_err());
    }

    #[test]
    fn log_that_lost_lines_is_not_taken() {
        assert!(KernelLog::parse(&format!("6,3,1,-;later\n{READ_ALL}")).is_err());
        assert!(KernelLog::parse("6,0,1,-;Linux\nBroken pipe").is_err());
    }

    #[test]
    fn console_has_no_levels_and_is_searched_for_words() {
        console_is_clean("[   12.1] reboot: Restarting system\n[   12.1] reboot: machine restart")
            .unwrap();
        assert!(console_is_clean("[   12.0] Call Trace:").is_err());
    }
}
