//! The configuration file, at the start and while it runs.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use rustix::process::Signal;

use super::{coherd, log_of, next, output, path_text, ready, refusal, send};

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
