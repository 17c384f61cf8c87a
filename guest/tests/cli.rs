//! The program's command line and its errors, on a machine without a device.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::{Command, Output};

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_coherd-guest"))
        .args(arguments)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn help_names_every_task_and_option() {
    for (arguments, words) in [
        (
            &["--help"][..],
            &["info", "bench", "selftest", "--device", "Exit status"][..],
        ),
        (&["info", "--help"], &["--json", "--size", "--rounds"]),
        (&["bench", "--help"], &["--json", "--expect-ratio"]),
        (
            &["selftest", "--help"],
            &["--max-size", "--without-sync", "--expect-stale", "--only"],
        ),
    ] {
        let output = run(arguments);
        assert!(output.status.success());
        for word in words {
            assert!(text(&output.stdout).contains(word), "{arguments:?} {word}");
        }
    }
}

#[test]
fn command_lines_that_are_none_have_status_two() {
    for arguments in [
        &[][..],
        &["measure"],
        &["bench", "--expect-ratio", "fast"],
        &["bench", "--rounds", "0"],
        &["info", "--size", "1"],
    ] {
        assert_eq!(run(arguments).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn file_that_is_no_device_fails_with_a_verdict_in_the_last_line() {
    for task in ["info", "bench", "selftest"] {
        let output = run(&[task, "--device", "/dev/null"]);
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(
            text(&output.stdout),
            "FAILED: /dev/null is not a DRM device\n"
        );
    }
    let output = run(&["info", "--device", "/nonexistent"]);
    let said = text(&output.stdout);
    assert!(
        said.starts_with("FAILED: cannot open /nonexistent: "),
        "{said}"
    );
}
