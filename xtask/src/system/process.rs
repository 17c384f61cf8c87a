//! Processes of the host: their children, how often they ran, and their end.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::failure::Failure;

/// The unit of times in /proc, whatever the kernel's own.
const MILLISECONDS_PER_TICK: u64 = 10;

/// The running children of a process, of whichever of its threads.
pub fn children(pid: u32) -> Result<BTreeSet<u32>, Failure> {
    let mut found = BTreeSet::new();
    for task in tasks(pid)? {
        let list = fs::read_to_string(task.join("children")).unwrap_or_default();
        found.extend(
            list.split_whitespace()
                .filter_map(|child| child.parse().ok())
                .filter(|child| is_running(*child)),
        );
    }
    Ok(found)
}

/// Whether a process is there and not dead.
#[must_use]
pub fn is_running(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("State:"))
        .is_some_and(|state| !state.trim_start().starts_with(['Z', 'X']))
}

/// How often the threads of a process have given up or lost the processor.
pub fn switches(pid: u32) -> Result<u64, Failure> {
    let mut sum = 0;
    for task in tasks(pid)? {
        // A thread may end at any time.
        let status = fs::read_to_string(task.join("status")).unwrap_or_default();
        sum += switches_in(&status);
    }
    Ok(sum)
}

/// How long a process has worked so far, its threads together.
pub fn processor_time(pid: u32) -> Result<Duration, Failure> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).map_err(Failure::io(format!("read {path}")))?;
    Ok(Duration::from_millis(
        ticks_in(&stat) * MILLISECONDS_PER_TICK,
    ))
}

/// What each thread of a process waits for in the kernel; it tells who hangs on whom.
#[must_use]
pub fn waits(pid: u32) -> String {
    let wait = |task: &PathBuf| {
        let read = |name: &str| fs::read_to_string(task.join(name)).unwrap_or_default();
        format!("{} in {}", read("comm").trim(), read("wchan").trim())
    };
    // A process that has ended waits for nothing.
    let waits: Vec<String> = tasks(pid).unwrap_or_default().iter().map(wait).collect();
    waits.join(", ")
}

/// Kills a process that is not a child of this one.
pub fn kill(pid: u32) -> Result<(), Failure> {
    let failed = || Failure::io(format!("kill process {pid}"));
    let target = i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .ok_or_else(|| failed()(io::ErrorKind::InvalidInput.into()))?;
    kill_process(target, Signal::KILL).map_err(|errno| failed()(errno.into()))
}

fn tasks(pid: u32) -> Result<Vec<PathBuf>, Failure> {
    let folder = Path::new("/proc").join(pid.to_string()).join("task");
    let listing =
        fs::read_dir(&folder).map_err(Failure::io(format!("list {}", folder.display())))?;
    Ok(listing.flatten().map(|entry| entry.path()).collect())
}

fn switches_in(status: &str) -> u64 {
    status
        .lines()
        .filter_map(|line| line.split_once("ctxt_switches:"))
        .filter_map(|(_, count)| count.trim().parse::<u64>().ok())
        .sum()
}

/// proc(5): fields 14 and 15, of which the second, the name, may hold anything.
fn ticks_in(stat: &str) -> u64 {
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    after_name
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, id};

    #[test]
    fn both_kinds_of_switches_count() {
        let status = "Threads:\t1\nvoluntary_ctxt_switches:\t40\nnonvoluntary_ctxt_switches:\t2\n";
        assert_eq!(switches_in(status), 42);
    }

    #[test]
    fn user_and_system_time_count_whatever_the_name() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194304 100 0 0 0 30 12 5 5 20 0 3 0 100";
        assert_eq!(ticks_in(stat), 42);
    }

    #[test]
    fn a_dead_child_is_not_running() {
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        assert!(children(id()).unwrap().contains(&child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!children(id()).unwrap().contains(&child.id()));
    }
}
