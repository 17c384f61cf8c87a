//! The program as its user sees it: one line, an exit status, a socket.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod configuration;
mod ctl;
mod life_cycle;
mod options;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use coherd::exit;
use rustix::process::{Pid, Signal, kill_process};

fn coherd(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_coherd"));
    command.args(arguments).stdin(Stdio::null());
    command
}

/// What a program says that ends at once.
fn output(command: &mut Command) -> Output {
    command.output().unwrap()
}

/// The one line on stderr of a program that fails.
fn complaint(command: &mut Command) -> String {
    complaint_with(exit::FAILED, command)
}

/// The one line on stderr of a program that refuses its options.
fn refusal(command: &mut Command) -> String {
    complaint_with(exit::USAGE, command)
}

fn complaint_with(status: u8, command: &mut Command) -> String {
    let output = output(command);
    assert_eq!(output.status.code(), Some(status.into()));
    assert!(output.stdout.is_empty());
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    text
}

/// Starts a program and waits until it is ready.
fn ready(command: &mut Command) -> Child {
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    log.read_line(&mut line).unwrap();
    assert!(line.contains("ready"), "{line}");
    child.stderr = Some(log.into_inner());
    child
}

/// How long a line of the log may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The lines that a program logs from now on.
fn log_of(child: &mut Child) -> Receiver<String> {
    let (sender, lines) = mpsc::channel();
    let log = BufReader::new(child.stderr.take().unwrap());
    thread::spawn(move || {
        for line in log.lines() {
            // The test may have seen enough.
            let _ = sender.send(line.unwrap());
        }
    });
    lines
}

/// The next line of the log.
fn next(lines: &Receiver<String>) -> String {
    lines.recv_timeout(PATIENCE).unwrap()
}

fn send(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(child.id().cast_signed()).unwrap();
    kill_process(pid, signal).unwrap();
}

fn path_text(path: &Path) -> &str {
    path.to_str().unwrap()
}
