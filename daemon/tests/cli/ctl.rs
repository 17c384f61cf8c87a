//! `coherd ctl` beside it.

use rustix::process::Signal;

use super::{coherd, complaint, output, path_text, ready, send};

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
