//! What it answers to its options at once.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use coherd::device::quota::Quota;
use coherd::exit;

use super::{coherd, complaint, output, refusal};

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
    let line = refusal(&mut coherd(&["--socket-path", super::path_text(&path)]));
    assert!(line.contains("--features venus"), "{line}");
    assert!(line.contains("--renderer 2d"), "{line}");
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
