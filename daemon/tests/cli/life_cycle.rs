//! How it starts, is asked to end, and ends.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{coherd, complaint, log_of, next, path_text, ready, send};

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

#[test]
fn signal_ends_the_program_within_a_second_in_the_middle_of_a_message() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gpu.sock");
    let arguments = ["--renderer", "2d", "--socket-path", path_text(&path)];
    let mut child = ready(&mut coherd(&arguments));
    let mut stream = UnixStream::connect(&path).unwrap();
    // A whole request, whose answer shows that it is served, and the first byte of the next.
    let get_features = [1u32, 1, 0].map(u32::to_ne_bytes).concat();
    stream.write_all(&get_features).unwrap();
    stream.read_exact(&mut [0; 20]).unwrap();
    stream.write_all(&get_features[..1]).unwrap();

    let began = Instant::now();
    send(&child, Signal::TERM);

    assert!(child.wait().unwrap().success());
    assert!(began.elapsed() < Duration::from_secs(1));
    assert!(!path.exists());
}

#[test]
fn program_killed_outright_leaves_a_socket_that_the_next_one_replaces() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gpu.sock");
    let arguments = ["--renderer", "2d", "--socket-path", path_text(&path)];
    let mut child = ready(&mut coherd(&arguments));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(path.exists());

    let mut child = ready(&mut coherd(&arguments));
    // One that asks in vain does not disturb it.
    let line = complaint(&mut coherd(&arguments));
    assert!(line.contains("in use"), "{line}");
    assert!(child.try_wait().unwrap().is_none());

    send(&child, Signal::TERM);
    assert!(child.wait().unwrap().success());
    assert!(!path.exists());
}

#[test]
fn program_that_persists_serves_until_it_is_asked_to_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gpu.sock");
    let arguments = [
        "--renderer",
        "2d",
        "--persist",
        "--socket-path",
        path_text(&path),
    ];
    let mut child = ready(&mut coherd(&arguments));
    let log = log_of(&mut child);
    for _ in 0..3 {
        drop(UnixStream::connect(&path).unwrap());
        assert!(next(&log).contains("hung up"));
    }
    send(&child, Signal::TERM);
    assert!(child.wait().unwrap().success());
    assert!(!path.exists());
}
