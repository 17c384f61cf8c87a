//! Programs in the guest.

use std::time::{Duration, Instant};

use super::failure::Failure;
use crate::coherd::program;
use crate::vm::{Job, Output, Vm, VmError};

/// A program that does not end in this time hangs, even without KVM on a busy host.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// How long a look at a program's output may be old.
const LOOK: Duration = Duration::from_millis(20);

/// How many lines of its output a failure shows.
const TAIL: usize = 15;

/// What vk-memory's checks print while they work, before the number of iterations.
const BEAT: &str = "alive ";

/// Runs a shell script in the guest and returns what it printed.
pub fn shell(vm: &Vm, script: &str) -> Result<String, Failure> {
    let app = App {
        job: vm.spawn(script)?,
        line: script.to_owned(),
    };
    app.succeeds()
}

/// A program running in the guest.
#[derive(Debug)]
pub struct App<'vm> {
    job: Job<'vm>,
    line: String,
}

impl<'vm> App<'vm> {
    /// Starts a command line.
    pub fn start(vm: &'vm Vm, line: String) -> Result<Self, Failure> {
        let job = vm.spawn(&format!("exec {line}"))?;
        Ok(Self { job, line })
    }

    /// Starts one of this workspace's guest programs on the GPU that coherd gives the guest.
    pub fn venus(vm: &'vm Vm, name: &str, arguments: &str) -> Result<Self, Failure> {
        let line = format!("{} {arguments} --device venus", program(name).display());
        Self::start(vm, line)
    }

    /// Waits for its success and returns what it printed.
    pub fn succeeds(&self) -> Result<String, Failure> {
        let output = self.job.wait(PATIENCE)?;
        if output.status == 0 {
            return Ok(output.log);
        }
        Err(self.ended(&output, "success"))
    }

    /// Waits for its failure.
    pub fn fails(&self) -> Result<Output, Failure> {
        let output = self.job.wait(PATIENCE)?;
        if output.status != 0 {
            return Ok(output);
        }
        Err(self.ended(&output, "a failure"))
    }

    /// Waits for its end, whichever it is.
    pub fn ends(&self) -> Result<Output, Failure> {
        Ok(self.job.wait(PATIENCE)?)
    }

    /// Waits until it prints `what`.
    pub fn prints(&self, what: &str) -> Result<(), Failure> {
        self.repeats(what, 1)
    }

    /// Waits until it has printed `what` so many times.
    pub fn repeats(&self, what: &str, times: usize) -> Result<(), Failure> {
        self.watch(what, |log| {
            (log.matches(what).count() >= times).then_some(())
        })
    }

    /// What it has printed so far.
    pub fn said(&self) -> String {
        self.job.log()
    }

    /// Waits until it has done more than `iterations`, and returns how many.
    pub fn works_on(&self, iterations: u64) -> Result<u64, Failure> {
        self.watch("a sign of life", |log| {
            last_beat(log).filter(|beat| *beat > iterations)
        })
    }

    /// Whether it has not ended.
    pub fn is_running(&self) -> Result<bool, Failure> {
        Ok(self.has_ended(Duration::ZERO)?.is_none())
    }

    /// Kills it, as SIGKILL does, and waits for its end.
    pub fn kill(&self) -> Result<(), Failure> {
        self.job.kill()?;
        self.job.wait(PATIENCE)?;
        Ok(())
    }

    fn watch<T>(&self, what: &str, find: impl Fn(&str) -> Option<T>) -> Result<T, Failure> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let ended = self.has_ended(LOOK)?;
            if let Some(found) = find(&self.job.log()) {
                return Ok(found);
            }
            if let Some(output) = ended {
                return Err(self.ended(&output, "no end so far"));
            }
            if Instant::now() >= deadline {
                return Err(Failure::Never {
                    what: format!("{what} from {}", self.line),
                    waited: PATIENCE,
                    state: format!("it had said:\n{}", last_lines(&self.job.log())),
                });
            }
        }
    }

    fn has_ended(&self, within: Duration) -> Result<Option<Output>, Failure> {
        match self.job.wait(within) {
            Ok(output) => Ok(Some(output)),
            Err(VmError::Timeout { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn ended(&self, output: &Output, expected: &'static str) -> Failure {
        Failure::Program {
            program: self.line.clone(),
            status: output.status,
            expected,
            said: last_lines(&output.log),
        }
    }
}

/// The end of an output, as much as a failure should show.
pub fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL)..].join("\n")
}

/// What one of this workspace's guest programs says in the last line of its output, when all was well.
pub fn verdict(said: &str) -> &str {
    let line = said.lines().last().unwrap_or_default();
    line.trim_start_matches("ok: ")
}

fn last_beat(log: &str) -> Option<u64> {
    // The last line may not be whole.
    let (whole, _) = log.rsplit_once('\n')?;
    whole
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix(BEAT)?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beat_counts_once_its_line_is_whole() {
        assert_eq!(last_beat("device: x\nalive 7\nalive 12\nali"), Some(12));
        assert_eq!(last_beat("alive 1"), None);
    }
}
