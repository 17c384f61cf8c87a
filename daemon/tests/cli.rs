//! The program as its user sees it: one line, an exit status, a socket.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use coherd::device::quota::Quota;
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
fn capabilities_may_be_read_as_far_as_is_wanted() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = output(coherd(&["--print-capabilities"]).stdout(writer));
    assert!(output.status.success());
    assert!(output.stderr.is_empty());
}

#[test]
fn program_without_a_socket_says_which_options_name_one() {
    let line = refusal(&mut coherd(&["--renderer", "2d"]));
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
fn fd_that_was_not_inherited_is_named_and_nothing_of_the_programs_own_is_taken_for_it() {
    for fd in ["3", "4", "5", "9"] {
        let line = complaint(&mut coherd(&["--renderer", "2d", "--fd", fd]));
        let expected = format!("fd {fd} is not a unix stream socket");
        assert!(line.contains(&expected), "{line}");
    }
}

#[test]
fn help_lists_every_quota() {
    let output = output(&mut coherd(&["--help"]));
    let text = String::from_utf8(output.stdout).unwrap();
    for quota in Quota::ALL {
        let listed = |line: &str| line.trim().starts_with(quota.name());
        assert!(text.lines().any(listed), "{}", quota.name());
    }
}

#[test]
fn values_that_do_not_work_are_refused_with_what_does() {
    for (argument, allowed) in [
        ("--display=1920", "WIDTHxHEIGHT"),
        ("--display=100x100", "from 400 to 8192"),
        ("--quota=mappings=0", "from 1 to 32000"),
        ("--quota=threads=5", "blob-bytes, image-bytes"),
        ("--quota=mappings", "NAME=VALUE"),
        ("--context-quota=contexts=5", "blob-bytes, attachments"),
    ] {
        let output = output(&mut coherd(&["--fd", "0", argument]));
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(exit::USAGE.into()), "{argument}");
        assert!(text.contains(allowed), "{text}");
    }
}

#[test]
fn more_displays_than_outputs_are_refused() {
    let displays = ["--display=800x600", "--display=800x600", "--outputs=1"];
    let line = refusal(coherd(&["--renderer", "2d", "--fd", "0"]).args(displays));
    assert!(line.contains("--outputs"), "{line}");
    assert!(
        line.contains("more displays (2) than outputs (1)"),
        "{line}"
    );
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
    let line = refusal(&mut coherd(&["--socket-path", path_text(&path)]));
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

#[test]
fn persisting_on_a_connection_is_refused() {
    let (_ours, theirs) = UnixStream::pair().unwrap();
    let mut command = coherd(&["--renderer", "2d", "--fd", "0", "--persist"]);
    let line = refusal(command.stdin(OwnedFd::from(theirs)));
    assert!(
        line.contains("--persist needs a socket that listens"),
        "{line}"
    );
}

#[test]
fn help_has_the_exit_statuses() {
    let output = output(&mut coherd(&["--help"]));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains(exit::HELP), "{text}");
}

#[test]
fn configuration_file_takes_the_place_of_flags() {
    let folder = tempfile::tempdir().unwrap();
    let (path, file) = (
        folder.path().join("gpu.sock"),
        folder.path().join("gpu.toml"),
    );
    let text = format!("renderer = '2d'\nsocket-path = '{}'\n", path_text(&path));
    std::fs::write(&file, text).unwrap();

    let mut child = ready(&mut coherd(&["--config", path_text(&file)]));

    assert!(path.exists());
    send(&child, Signal::TERM);
    assert!(child.wait().unwrap().success());
}

#[test]
fn configuration_is_checked_without_being_used() {
    let folder = tempfile::tempdir().unwrap();
    let (path, file) = (
        folder.path().join("gpu.sock"),
        folder.path().join("gpu.toml"),
    );
    let arguments = ["--check-config", "--config", path_text(&file)];

    let line = refusal(&mut coherd(&arguments));
    assert!(line.starts_with("coherd: cannot read"), "{line}");

    let text = format!("socket-path = '{}'\n", path_text(&path));
    std::fs::write(&file, &text).unwrap();
    let output = output(&mut coherd(&arguments));
    assert!(output.status.success() && output.stderr.is_empty());
    assert!(!path.exists());

    std::fs::write(&file, text + "outputs = 'many'\n").unwrap();
    let line = refusal(&mut coherd(&arguments));
    assert!(line.contains("gpu.toml, line 2: invalid type"), "{line}");
}

#[test]
fn file_that_is_shipped_is_right_with_every_line_in_force() {
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/../systemd/coherd.toml");
    let text = std::fs::read_to_string(shipped).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("coherd.toml");
    // Prose has a space behind the sign.
    let in_force = text.replace("\n#", "\n").replace("\n ", "\n# ");
    assert_ne!(in_force, text);
    for text in [text, in_force] {
        std::fs::write(&file, text).unwrap();
        let output = output(&mut coherd(&[
            "--check-config",
            "--config",
            path_text(&file),
        ]));
        assert!(output.status.success(), "{output:?}");
    }
}

#[test]
fn hang_up_signal_without_a_configuration_file_changes_nothing() {
    let (_ours, theirs) = UnixStream::pair().unwrap();
    let mut command = coherd(&["--renderer", "2d", "--fd", "0"]);
    let mut child = ready(command.stdin(OwnedFd::from(theirs)));
    let log = log_of(&mut child);

    send(&child, Signal::HUP);

    assert!(next(&log).contains("no configuration to read again"));
    send(&child, Signal::TERM);
    assert!(child.wait().unwrap().success());
}

#[test]
fn hang_up_signal_changes_what_can_change_and_names_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gpu.toml");
    let write = |text: &str| std::fs::write(&file, format!("renderer = '2d'\n{text}")).unwrap();
    let (_ours, theirs) = UnixStream::pair().unwrap();
    write("outputs = 2");
    let mut command = coherd(&["--fd", "0", "--config", path_text(&file)]);
    let mut child = ready(command.stdin(OwnedFd::from(theirs)));
    let log = log_of(&mut child);
    let after = |text: &str, count: usize| {
        write(text);
        send(&child, Signal::HUP);
        let mut lines: Vec<_> = (0..count).map(|_| next(&log)).collect();
        // Two threads log.
        lines.sort_by_key(|line| line.contains("was read again"));
        lines.join("\n")
    };

    let text = after("outputs = 2\ndisplay = ['800x600', '640x480']", 2);
    assert!(
        text.contains("displays changed outputs=800x600, 640x480"),
        "{text}"
    );

    let text = after(
        "outputs = 3\nquota = { contexts = 5 }\ndisplay = ['800x600', '640x480']",
        3,
    );
    for option in [
        "outputs cannot change",
        "quota or context-quota cannot change",
    ] {
        assert!(text.contains(option), "{text}");
    }

    let text = after("display = ['800x600', '640x480', '640x480']", 2);
    assert!(text.contains("displays stay as they were"), "{text}");

    let text = after("displays = 5", 1);
    assert!(text.contains("configuration stays as it was"), "{text}");
    assert!(text.contains("gpu.toml, line 2: unknown field"), "{text}");

    let text = after(
        "on-type-mismatch = 'refuse'\ndisplay = ['800x600', '640x480']",
        2,
    );
    assert!(text.contains("on-type-mismatch changed"), "{text}");

    let text = after("log-level = 'debug'\noutputs = 2", 4);
    assert!(
        text.contains("displays changed outputs=1280x800, none"),
        "{text}"
    );
    assert!(
        text.contains("interrupt waits for the device to run"),
        "{text}"
    );

    let text = after("log-level = 'warn'\noutputs = 3", 1);
    assert!(text.contains("outputs cannot change"), "{text}");
    let text = after("log-level = 'loud'", 1);
    assert!(text.contains("configuration stays as it was"), "{text}");

    send(&child, Signal::TERM);
    assert!(child.wait().unwrap().success());
}

#[test]
fn ctl_asks_a_coherd_that_runs_and_says_where_none_does() {
    let folder = tempfile::tempdir().unwrap();
    let [socket, sync] = ["gpu", "sync"].map(|name| folder.path().join(name));
    let (socket, sync) = (path_text(&socket), path_text(&sync));
    let serve = [
        "--renderer=2d",
        "--socket-path",
        socket,
        "--sync-socket",
        sync,
    ];
    let mut child = ready(&mut coherd(&serve));
    let table = output(&mut coherd(&["ctl", "blobs", "--sync-socket", sync]));
    assert!(table.status.success(), "{table:?}");
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(
        table.starts_with("BLOB ") && table.lines().count() == 1,
        "{table}"
    );
    send(&child, Signal::TERM);
    assert!(child.wait().unwrap().success());

    let text = complaint(&mut coherd(&["ctl", "verify", "--sync-socket", sync]));
    assert!(
        text.contains(&format!("cannot connect to {sync}")),
        "{text}"
    );
}
