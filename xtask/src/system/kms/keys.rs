//! A terminal of programs that run until a key is pressed, and that take an end of input for one.

use crate::system::app::shell;
use crate::system::failure::Failure;
use crate::vm::Vm;

const FIFO: &str = "/tmp/keys";

/// A standard input on which nothing happens until a key is pressed, for one program at a time.
#[derive(Debug)]
pub struct Keys<'vm> {
    vm: &'vm Vm,
}

impl<'vm> Keys<'vm> {
    /// Makes it, unless the guest has one already.
    pub fn new(vm: &'vm Vm) -> Result<Self, Failure> {
        shell(vm, &format!("test -p {FIFO} || mkfifo {FIFO}"))?;
        Ok(Self { vm })
    }

    /// A command line that has it for its standard input, opened for writing too so that it never ends.
    pub fn given_to(&self, line: &str) -> String {
        format!("{line} 0<>{FIFO}")
    }

    /// Presses the return key.
    pub fn press(&self) -> Result<(), Failure> {
        shell(self.vm, &format!("echo >{FIFO}")).map(drop)
    }
}
