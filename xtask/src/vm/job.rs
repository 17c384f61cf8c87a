//! Commands in a guest.

use std::time::Duration;

use super::agent::{Outcome, Ticket};
use super::qemu::last_lines;
use super::{Vm, VmError};

/// How a command in the guest ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Its exit status; 128 plus the signal where one killed it.
    pub status: i32,
    /// What it printed, both streams together.
    pub log: String,
}

/// A command running in the guest.
#[derive(Debug)]
pub struct Job<'vm> {
    vm: &'vm Vm,
    ticket: Ticket,
    script: String,
}

impl<'vm> Job<'vm> {
    pub(super) fn start(vm: &'vm Vm, script: &str) -> Result<Self, VmError> {
        let ticket = vm
            .agent
            .run(script)
            .map_err(VmError::io("send a command to the guest"))?;
        Ok(Self {
            vm,
            ticket,
            script: script.to_owned(),
        })
    }

    /// Waits for the end of the command; it goes on running when the time is up.
    pub fn wait(&self, timeout: Duration) -> Result<Output, VmError> {
        match self.vm.agent.wait(self.ticket, timeout) {
            Outcome::Done(status) => Ok(Output {
                status,
                log: self.log(),
            }),
            Outcome::Rebooted => Err(VmError::Rebooted {
                during: self.script.clone(),
            }),
            Outcome::Closed => Err(self.vm.qemu.exited(&self.script)),
            Outcome::Timeout => Err(VmError::Timeout {
                during: self.script.clone(),
                waited: timeout,
                said: last_lines(&self.log()),
            }),
        }
    }

    /// What it has printed so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.vm.agent.log(self.ticket)
    }

    /// Kills the command and what it has started; waiting for it then gives status 137.
    pub fn kill(&self) -> Result<(), VmError> {
        self.vm
            .agent
            .kill(self.ticket)
            .map_err(VmError::io("tell the guest to kill a command"))
    }
}
