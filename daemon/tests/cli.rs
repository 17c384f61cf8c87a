//! The program as its user sees it: one line, an exit status, a socket.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

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
    let output = output(command);
    assert!(!output.status.success());
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

fn send(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(child.id().cast_signed()).unwrap();
    kill_process(pid, signal).unwrap();
}

fn path_text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn capabilities_are_those_of_a_gpu_without_virgl() {
    let output = output(&mut coherd(&["--print-capabilities"]));
    assert!(output.status.success());
    assert!(output.stderr.is_empty());
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["type"], "gpu");
    let features = json["features"].as_array().unwrap();
    assert!(!features.iter().any(|feature| feature == "virgl"));
}

#[test]
fn program_without_a_socket_says_which_options_name_one() {
    let line = complaint(&mut coherd(&["--renderer", "2d"]));
    assert!(line.starts_with("coherd: no socket"), "{line}");
    assert!(line.contains("--socket-path") && line.contains("--fd"));
}

#[test]
fn path_in_use_is_named_and_left_to_its_owner() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gpu.sock");
    let _owner = UnixListener::bind(&path).unwrap();
    let arguments = ["--renderer", "2d", "--socket-path", path_text(&path)];
    let line = complaint(&mut coherd(&arguments));
    assert!(
        line.contains("gpu.sock") && line.contains("in use"),
        "{line}"
    );
    assert!(path.exists());
}

#[test]
fn fd_that_is_no_socket_is_named() {
    let line = complaint(&mut coherd(&["--renderer", "2d", "--fd", "0"]));
    assert!(line.contains("fd 0 is not a unix stream socket"), "{line}");
}

#[test]
fn window_size_that_qemu_would_not_survive_is_refused() {
    for size in ["3G", "512K", "0", "2T", "many"] {
        let output = output(&mut coherd(&["--fd", "0", "--window-size", size]));
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success());
        assert!(text.contains("--window-size"), "{text}");
    }
}

#[cfg(not(feature = "venus"))]
#[test]
fn program_without_venus_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gpu.sock");
    let line = complaint(&mut coherd(&["--socket-path", path_text(&path)]));
    assert!(line.contains("--features venus"), "{line}");
    assert!(line.contains("--renderer 2d"), "{line}");
    assert!(!path.exists());
}

#[test]
fn signal_ends_the_program_and_removes_its_socket() {
    for signal in [Signal::TERM, Signal::INT] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gpu.sock");
        let arguments = ["--renderer", "2d", "--socket-path", path_text(&path)];
        let mut child = ready(&mut coherd(&arguments));
        assert!(path.exists());

        send(&child, signal);

        assert!(child.wait().unwrap().success());
        assert!(!path.exists());
    }
}

#[test]
fn signal_ends_the_program_while_it_serves() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut command = coherd(&["--renderer", "2d", "--fd", "0"]);
    let mut child = ready(command.stdin(OwnedFd::from(theirs)));
    send(&child, Signal::TERM);
    assert!(child.wait().unwrap().success());
    drop(ours);
}

#[test]
fn hang_up_of_the_front_end_ends_the_program_well() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gpu.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let arguments = ["--renderer", "2d", "--fd", "0"];

    let mut connected = ready(coherd(&arguments).stdin(OwnedFd::from(theirs)));
    drop(ours);
    assert!(connected.wait().unwrap().success());

    let mut listening = ready(coherd(&arguments).stdin(OwnedFd::from(listener)));
    drop(UnixStream::connect(&path).unwrap());
    assert!(listening.wait().unwrap().success());
    // A socket that was handed down is its giver's to remove.
    assert!(path.exists());
}
