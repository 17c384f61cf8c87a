//! Guests: stock QEMU inside the lab, booting the lab's kernel with the lab's root over 9p.
//!
//! A guest has the lab's root read-only at `/`, the checkout read-only at `/src` and one writable host folder at
//! `/share`, so programs built inside the lab run in it under the same path. Commands run through a small agent.

mod accel;
mod agent;
mod autopsy;
mod builder;
mod error;
mod initramfs;
mod job;
mod mailbox;
mod qemu;
mod qmp;
pub mod smoke;
mod terminal;

use std::fs::File;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use agent::{Agent, Outcome};
use qemu::Qemu;
use qmp::{Qmp, QmpError};
use serde_json::Value;

pub use accel::Accel;
pub use builder::Builder;
pub use error::VmError;
pub use job::{Job, Output};

use crate::lab::Lab;

/// A running guest; QEMU ends when this is dropped.
#[derive(Debug)]
pub struct Vm {
    qemu: Qemu,
    accel: Accel,
    qmp: Qmp,
    agent: Agent,
    terminal: UnixStream,
    keys: File,
    share: PathBuf,
}

impl Vm {
    /// Describes a guest.
    #[must_use]
    pub fn builder(lab: &Lab) -> Builder<'_> {
        Builder::new(lab)
    }

    /// Waits until the guest takes commands; once for the start, and once more for every reboot.
    pub fn wait_ready(&self, timeout: Duration) -> Result<(), VmError> {
        let during = "the guest's boot";
        match self.agent.wait_ready(timeout) {
            Outcome::Done(_) | Outcome::Rebooted => Ok(()),
            Outcome::Closed => Err(self.qemu.exited(during)),
            Outcome::Timeout => Err(self.qemu.timeout(during, timeout)),
        }
    }

    /// Runs a shell script in the guest and waits for its end.
    pub fn run(&self, script: &str, timeout: Duration) -> Result<Output, VmError> {
        self.spawn(script)?.wait(timeout)
    }

    /// Starts a shell script in the guest; several may run at once.
    pub fn spawn(&self, script: &str) -> Result<Job<'_>, VmError> {
        Job::start(self, script)
    }

    /// Runs a QMP command, such as `stop`, `cont`, `system_reset` or `query-status`; null stands for no arguments.
    pub fn qmp(&self, command: &str, arguments: Value) -> Result<Value, VmError> {
        self.qmp
            .execute(command, arguments)
            .map_err(|error| self.qemu.monitor_failed(error, command))
    }

    /// Takes the next QMP event of this name, such as `RESET`, waiting for it if need be.
    pub fn wait_event(&self, name: &str, timeout: Duration) -> Result<Value, VmError> {
        let during = format!("the wait for {name}");
        self.qmp
            .wait_event(name, timeout)
            .map_err(|error| match error {
                QmpError::Silent => self.qemu.timeout(&during, timeout),
                other => self.qemu.monitor_failed(other, &during),
            })
    }

    /// Takes all QMP events that nobody has waited for.
    #[must_use]
    pub fn take_events(&self) -> Vec<Value> {
        self.qmp.take_events()
    }

    /// All that the guest has written to its console, reboots included.
    #[must_use]
    pub fn console(&self) -> String {
        self.qemu.console()
    }

    /// The end of the guest's console.
    #[must_use]
    pub fn console_tail(&self) -> String {
        self.qemu.console_tail()
    }

    /// QEMU's process id, on the host.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.qemu.pid()
    }

    /// Whether QEMU is running.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.qemu.is_alive()
    }

    /// What runs the guest's instructions, which decides how patient to be.
    #[must_use]
    pub fn accel(&self) -> Accel {
        self.accel
    }

    /// The folder with QEMU's and the console's logs.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.qemu.dir()
    }

    /// The host's side of the guest's `/share`.
    #[must_use]
    pub fn share(&self) -> &Path {
        &self.share
    }

    /// Connects this program's terminal to a shell in the guest, until the shell or QEMU ends.
    pub fn interact(&self) -> Result<(), VmError> {
        let ticket = self
            .agent
            .shell()
            .map_err(VmError::io("ask the guest for a shell"))?;
        terminal::relay(&self.terminal, || {
            self.agent
                .wait(ticket, Duration::from_secs(u32::MAX.into()));
        })
        .map_err(VmError::io("relay the terminal"))
    }

    /// Ends QEMU and waits for it; dropping does the same.
    pub fn stop(self) {}
}

impl Drop for Vm {
    fn drop(&mut self) {
        self.qmp.quit();
        self.qemu.end();
    }
}
