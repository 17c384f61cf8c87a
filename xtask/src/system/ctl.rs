//! `coherd ctl`, beside the coherd that it asks.

use std::path::Path;
use std::process::Stdio;

use super::failure::Failure;
use crate::coherd::{Coherd, program};
use crate::lab::Lab;

/// What it writes to standard output, asking over the sync socket.
pub fn by_sync(lab: &Lab, coherd: &Coherd, arguments: &[&str]) -> Result<Vec<u8>, Failure> {
    ask(lab, arguments, "--sync-socket", coherd.sync_socket())
}

/// The same over the control socket.
pub fn by_control(lab: &Lab, coherd: &Coherd, arguments: &[&str]) -> Result<Vec<u8>, Failure> {
    ask(lab, arguments, "--control-socket", coherd.control_socket())
}

fn ask(lab: &Lab, arguments: &[&str], option: &str, socket: &Path) -> Result<Vec<u8>, Failure> {
    let mut command = lab.command(program("coherd"));
    command.arg("ctl").args(arguments).arg(option).arg(socket);
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(Failure::io("run coherd ctl in the lab"))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(Failure::Program {
        program: format!("{command:?}"),
        status: output.status.code().unwrap_or(-1),
        expected: "success",
        said: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}
