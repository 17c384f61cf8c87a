//! coherd as it runs in the lab: built there, started there, watched from the host.

mod build;
mod ordinary;
mod vulkan;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, geteuid, kill_process};

pub use self::build::{PROFILE, build, build_release, program, released};
pub use self::vulkan::Vulkan;
use crate::lab::{Lab, LabError};

/// What coherd logs once a VMM can connect.
const READY: &str = "INFO ready";

/// What coherd logs once it follows its configuration file.
const RELOADED: &str = "configuration was read again";

/// A loaded host takes seconds to start a Vulkan driver.
const START: Duration = Duration::from_secs(60);
const STATUS: Duration = Duration::from_secs(30);

/// Why coherd does not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum CoherdError {
    /// The lab does not work.
    #[error(transparent)]
    Lab(#[from] LabError),
    /// A file or a process could not be handled.
    #[error("cannot {action}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A build failed; its output has been shown.
    #[error("{0} failed in the lab")]
    Build(&'static str),
    /// It ended.
    #[error("coherd ended ({status}); its log:\n{log}")]
    Ended {
        /// How.
        status: ExitStatus,
        /// All it said.
        log: String,
    },
    /// It did not say what it should in time.
    #[error("coherd did not log {what:?} within {} s; its log:\n{log}", waited.as_secs())]
    Silent {
        /// What was waited for.
        what: &'static str,
        /// For how long.
        waited: Duration,
        /// All it said.
        log: String,
    },
}

fn failed(action: &'static str) -> impl FnOnce(io::Error) -> CoherdError {
    move |source| CoherdError::Io { action, source }
}

/// What a running coherd holds for its guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holdings {
    /// Resources.
    pub resources: u64,
    /// Contexts.
    pub contexts: u64,
    /// Window mappings.
    pub mappings: u64,
    /// Pending fences.
    pub fences: u64,
    /// Open files of the daemon.
    pub files: u64,
}

/// A running coherd, killed when dropped.
#[derive(Debug)]
pub struct Coherd {
    child: Child,
    socket: PathBuf,
    sync_socket: PathBuf,
    control_socket: PathBuf,
    config: PathBuf,
    log: PathBuf,
}

impl Coherd {
    /// Starts coherd in the lab and waits until a VMM can connect.
    ///
    /// # Errors
    /// [`CoherdError::Ended`] or [`CoherdError::Silent`], with all that it said.
    pub fn start(lab: &Lab, vulkan: Vulkan, arguments: &[&str]) -> Result<Self, CoherdError> {
        let command = lab.command(program("coherd"));
        Self::start_by(command, lab.run_dir(), vulkan, arguments)
    }

    /// The same as a user who is not root, where this process is root.
    ///
    /// # Errors
    /// As [`Coherd::start`], and [`CoherdError::Io`].
    pub fn start_as_ordinary_user(
        lab: &Lab,
        vulkan: Vulkan,
        arguments: &[&str],
    ) -> Result<Self, CoherdError> {
        if !geteuid().is_root() {
            return Self::start(lab, vulkan, arguments);
        }
        let folder = ordinary::prepare(lab)?;
        let mut command = lab.command("setpriv");
        command.args(ordinary::OPTIONS).arg(folder.join("coherd"));
        Self::start_by(command, &folder, vulkan, arguments)
    }

    /// Starts coherd by a command that becomes it, with its files in `folder`.
    fn start_by(
        mut command: Command,
        folder: &Path,
        vulkan: Vulkan,
        arguments: &[&str],
    ) -> Result<Self, CoherdError> {
        let (output, log) = new_log(folder).map_err(failed("create coherd's log"))?;
        let [socket, sync_socket, control_socket, config] =
            ["sock", "sync", "control", "toml"].map(|end| log.with_extension(end));
        File::create(&config).map_err(failed("create coherd's configuration"))?;
        command.arg("--socket-path").arg(&socket);
        command.arg("--sync-socket").arg(&sync_socket);
        command.arg("--control-socket").arg(&control_socket);
        command.arg("--config").arg(&config).args(arguments);
        command.envs(vulkan.environment());
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(output)
            .spawn()
            .map_err(failed("start coherd in the lab"))?;
        let mut coherd = Self {
            child,
            socket,
            sync_socket,
            control_socket,
            config,
            log,
        };
        coherd.wait_for_log(READY, 1, START)?;
        Ok(coherd)
    }

    /// Its socket, the same path on the host and inside the lab.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Where peers of the sync protocol connect.
    #[must_use]
    pub fn sync_socket(&self) -> &Path {
        &self.sync_socket
    }

    /// Where its state can be had.
    #[must_use]
    pub fn control_socket(&self) -> &Path {
        &self.control_socket
    }

    /// The process that serves the guest: the one in the cage, whose keeper is the one that was started.
    #[must_use]
    pub fn pid(&self) -> u32 {
        let keeper = self.child.id();
        let list = fs::read_to_string(format!("/proc/{keeper}/task/{keeper}/children"));
        let inside = list.ok().and_then(|list| list.trim().parse().ok());
        inside.unwrap_or(keeper)
    }

    /// All it said.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Lines above INFO since a VMM could connect, its render server's included.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        warnings(&self.log())
    }

    /// Whether it runs.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// [`CoherdError::Silent`] if it does not end in time.
    pub fn wait(&mut self, timeout: Duration) -> Result<ExitStatus, CoherdError> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(status) = self.child.try_wait().map_err(failed("wait for coherd"))? {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                let log = self.log();
                return Err(CoherdError::Silent {
                    what: "its end",
                    waited: timeout,
                    log,
                });
            }
            pause();
        }
    }

    /// Asks it what it holds.
    ///
    /// # Errors
    /// [`CoherdError::Ended`] or [`CoherdError::Silent`]
    pub fn holdings(&mut self) -> Result<Holdings, CoherdError> {
        let answers = self.log().matches(" status ").count();
        self.signal(Signal::USR1)?;
        self.wait_for_log(" status ", answers + 1, STATUS)?;
        let log = self.log();
        let line = log
            .lines()
            .rfind(|line| line.contains(" status "))
            .unwrap_or_default();
        let files = fs::read_dir(format!("/proc/{}/fd", self.pid()))
            .map_err(failed("list coherd's files"))?
            .count();
        Ok(Holdings {
            resources: field(line, "resources"),
            contexts: field(line, "contexts"),
            mappings: field(line, "mappings"),
            fences: field(line, "fences"),
            files: u64::try_from(files).unwrap_or(u64::MAX),
        })
    }

    /// Gives it a configuration file with these contents, and waits until it follows.
    ///
    /// # Errors
    /// [`CoherdError::Ended`] or [`CoherdError::Silent`]
    pub fn reload(&mut self, config: &str) -> Result<(), CoherdError> {
        fs::write(&self.config, config).map_err(failed("write coherd's configuration"))?;
        let done = self.log().matches(RELOADED).count();
        self.signal(Signal::HUP)?;
        self.wait_for_log(RELOADED, done + 1, STATUS)
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// [`CoherdError::Io`]
    pub fn signal(&self, signal: Signal) -> Result<(), CoherdError> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| failed("signal coherd")(io::ErrorKind::InvalidInput.into()))?;
        kill_process(pid, signal).map_err(|errno| failed("signal coherd")(errno.into()))
    }

    /// Waits until `what` was logged `count` times.
    ///
    /// # Errors
    /// [`CoherdError::Ended`] or [`CoherdError::Silent`]
    pub fn wait_for_log(
        &mut self,
        what: &'static str,
        count: usize,
        timeout: Duration,
    ) -> Result<(), CoherdError> {
        let deadline = Instant::now() + timeout;
        while self.log().matches(what).count() < count {
            if let Some(status) = self.child.try_wait().map_err(failed("wait for coherd"))? {
                return Err(CoherdError::Ended {
                    status,
                    log: self.log(),
                });
            }
            if Instant::now() >= deadline {
                return Err(CoherdError::Silent {
                    what,
                    waited: timeout,
                    log: self.log(),
                });
            }
            pause();
        }
        Ok(())
    }
}

impl Drop for Coherd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A file of another process has no event to wait on.
fn pause() {
    std::thread::sleep(Duration::from_millis(20));
}

/// A file with a name that no other coherd's log in the folder has.
fn new_log(folder: &Path) -> io::Result<(File, PathBuf)> {
    let mut number = 0;
    loop {
        let path = folder.join(format!("coherd{number}.log"));
        match File::create_new(&path) {
            Ok(file) => return Ok((file, path)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(error),
        }
    }
}

/// What a worker of the render server says of a program that was killed, if it gets so far.
const KILLED: &str = "vkr: destroying ";

/// Lines that are no mere information; workers of the render server write theirs without a level.
fn warnings(log: &str) -> Vec<String> {
    let (_, since_ready) = log.split_once(READY).unwrap_or_default();
    since_ready
        .lines()
        .filter(|line| !line.is_empty() && !line.contains(KILLED))
        .filter(|line| {
            let level = line.split_whitespace().nth(1);
            !matches!(level, Some("INFO" | "DEBUG" | "TRACE"))
        })
        .map(str::to_owned)
        .collect()
}

/// The number behind `name=` in a line of the log.
fn field(line: &str, name: &str) -> u64 {
    line.split_whitespace()
        .find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
        .and_then(|number| number.parse().ok())
        .unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_count_once_a_vmm_can_connect() {
        let log = "2026-01-01T00:00:00Z  WARN no GPU: rendering with the CPU\n\
                   2026-01-01T00:00:00Z  INFO ready\n\
                   2026-01-01T00:00:01Z DEBUG driver starts the device life=1\n\
                   2026-01-01T00:00:02Z  WARN command is refused: resource 9 is unknown held_back=0\n\
                   vkr: context 3 is in a fatal state\n";
        let found = warnings(log);
        assert_eq!(found.len(), 2);
        assert!(found[0].contains("resource 9"));
        assert!(found[1].starts_with("vkr"));
        assert!(warnings("2026-01-01T00:00:00Z  WARN not ready yet\n").is_empty());
        let killed = format!("{READY}\nvirgl_render_server[7]: vkr: destroying context 2 (app)\n");
        assert!(warnings(&killed).is_empty());
    }

    #[test]
    fn fields_of_a_status_line_are_found() {
        let line = "2026-01-01T00:00:00Z  INFO status resources=3 contexts=1 mappings=12";
        assert_eq!(field(line, "resources"), 3);
        assert_eq!(field(line, "mappings"), 12);
        assert_eq!(field(line, "absent"), u64::MAX);
    }
}
