//! What the kernel is asked to do with dma-bufs: probes on its own functions.
//!
//! They see each DMA_BUF_IOCTL_SYNC with its flags, and what reaches an exporter of it, in the
//! order in which it happened (Documentation/trace/kprobetrace.rst).

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::thread::gettid;
use thiserror::Error;

use super::sync::SyncFlags;
use crate::skip::{Missing, Need};

const TRACING: &str = "/sys/kernel/tracing";

/// The probes' group, a folder of events.
const GROUP: &str = "coherd_dma_buf";

/// Name, function and arguments of each probe; the functions are those of Linux 6.12.
const PROBES: [(&str, &str, &str); 5] = [
    (
        "sync",
        "dma_buf_ioctl",
        "cmd=$arg2:x32 flags=+u0($arg3):x64",
    ),
    ("begin_udmabuf", "begin_cpu_udmabuf", "direction=$arg2:x32"),
    ("end_udmabuf", "end_cpu_udmabuf", "direction=$arg2:x32"),
    (
        "begin_system",
        "system_heap_dma_buf_begin_cpu_access",
        "direction=$arg2:x32",
    ),
    (
        "end_system",
        "system_heap_dma_buf_end_cpu_access",
        "direction=$arg2:x32",
    ),
];

/// DMA_BUF_IOCTL_SYNC
const SYNC: u64 = 0x4008_6200;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// Why the kernel's calls cannot be watched.
#[derive(Debug, Error)]
pub enum CallError {
    /// Probes must be there and are not.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// A file of the tracing file system cannot be used.
    #[error("cannot write {text:?} to {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What was to be written.
        text: String,
        /// What the system said.
        source: io::Error,
    },
    /// The list of calls cannot be read.
    #[error("cannot read the kernel's list of calls")]
    Read(#[source] io::Error),
    /// A line of the list says something unexpected.
    #[error("kernel's list of calls has the line {0:?}")]
    Line(String),
}

/// Which way data goes, `enum dma_data_direction`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// DMA_BIDIRECTIONAL
    Both,
    /// DMA_TO_DEVICE, from the CPU's writes.
    ToDevice,
    /// DMA_FROM_DEVICE, to the CPU's reads.
    FromDevice,
}

/// One call that the kernel got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// A process asked for one end of a bracket.
    Sync(SyncFlags),
    /// The exporter was told that the CPU's access begins.
    Begin(Direction),
    /// The exporter was told that the CPU's access is over.
    End(Direction),
}

/// A watch over one thread's calls and those of the threads and processes it starts meanwhile;
/// over when dropped.
#[derive(Debug)]
pub struct Calls {
    instance: PathBuf,
}

impl Calls {
    /// Begins to watch the calling thread; `None`, and a line that says so, where the kernel has
    /// no probes or does not let this user have them.
    ///
    /// # Errors
    /// See [`CallError`].
    pub fn watch() -> Result<Option<Self>, CallError> {
        let definitions = Path::new(TRACING).join("kprobe_events");
        if OpenOptions::new().append(true).open(&definitions).is_err() {
            Need::DmaBuf.skip("kernel probes for this user")?;
            return Ok(None);
        }
        for (name, function, arguments) in PROBES {
            let text = format!("p:{GROUP}/{name} {function} {arguments}");
            match write(&definitions, &text) {
                // Another test was here before.
                Err(CallError::Write { source, .. })
                    if source.kind() == io::ErrorKind::AlreadyExists => {}
                other => other?,
            }
        }
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("coherd-{}-{number}", process::id());
        let instance = Path::new(TRACING).join("instances").join(name);
        fs::create_dir(&instance).map_err(CallError::Read)?;
        let calls = Self { instance };
        calls.set("options/event-fork", "1")?;
        let thread = gettid().as_raw_nonzero().to_string();
        calls.set("set_event_pid", &thread)?;
        calls.set(&format!("events/{GROUP}/enable"), "1")?;
        Ok(Some(calls))
    }

    /// All calls so far, oldest first.
    ///
    /// # Errors
    /// [`CallError::Read`] and [`CallError::Line`]
    pub fn list(&self) -> Result<Vec<Call>, CallError> {
        let trace = fs::read_to_string(self.instance.join("trace")).map_err(CallError::Read)?;
        trace
            .lines()
            .filter(|line| !line.starts_with('#') && !line.is_empty())
            .filter_map(|line| parse(line).transpose())
            .collect()
    }

    fn set(&self, file: &str, text: &str) -> Result<(), CallError> {
        write(&self.instance.join(file), text)
    }
}

impl Drop for Calls {
    fn drop(&mut self) {
        // What stays costs nothing once it is off, and the machine of these tests is short-lived.
        let _ = self.set(&format!("events/{GROUP}/enable"), "0");
        let _ = fs::remove_dir(&self.instance);
    }
}

fn write(path: &Path, text: &str) -> Result<(), CallError> {
    OpenOptions::new()
        .append(true)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|source| CallError::Write {
            path: path.to_owned(),
            text: text.to_owned(),
            source,
        })
}

/// A line of the file `trace`; `None` for another ioctl than SYNC.
fn parse(line: &str) -> Result<Option<Call>, CallError> {
    let wrong = || CallError::Line(line.to_owned());
    let field = |name: &str| {
        line.split_whitespace()
            .find_map(|word| word.strip_prefix(name)?.strip_prefix("=0x"))
            .and_then(|digits| u64::from_str_radix(digits, 16).ok())
            .ok_or_else(wrong)
    };
    let direction = || {
        Ok(match field("direction")? {
            0 => Direction::Both,
            1 => Direction::ToDevice,
            2 => Direction::FromDevice,
            _ => return Err(wrong()),
        })
    };
    let is = |name: &str| line.contains(&format!(": {name}"));
    if is("sync: ") {
        if field("cmd")? != SYNC {
            return Ok(None);
        }
        let flags = SyncFlags::from_bits_retain(field("flags")?);
        return Ok(Some(Call::Sync(flags)));
    }
    if is("begin_") {
        return Ok(Some(Call::Begin(direction()?)));
    }
    if is("end_") {
        return Ok(Some(Call::End(direction()?)));
    }
    Err(wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_trace_are_calls() {
        let prefix = "           dma_buf-312     [001] .....   12.345678: ";
        let line = |text: &str| parse(&format!("{prefix}{text}")).unwrap();
        assert_eq!(
            line("sync: (dma_buf_ioctl+0x0/0x290) cmd=0x40086200 flags=0x6"),
            Some(Call::Sync(SyncFlags::WRITE | SyncFlags::END))
        );
        assert_eq!(
            line("sync: (dma_buf_ioctl+0x0/0x290) cmd=0xc0086202 flags=0x1"),
            None
        );
        assert_eq!(
            line("begin_udmabuf: (begin_cpu_udmabuf+0x0/0x60) direction=0x2"),
            Some(Call::Begin(Direction::FromDevice))
        );
        assert!(parse(&format!("{prefix}other: x")).is_err());
    }
}
