//! Packages in use.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::{DistError, io};
use crate::lab::{Lab, SOURCE};
use crate::tally::Tally;

const SCRIPT: &str = include_str!("install.sh");

/// How long the installation and each answer may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks whether the socket is there.
const PAUSE: Duration = Duration::from_millis(50);

/// GET_FEATURES of vhost-user, and the bytes of its answer.
const GET_FEATURES: [u32; 3] = [1, 1, 0];
const ANSWER: usize = 20;

/// What `rpm` has to find in the package.
const FILES: [&str; 8] = [
    "/usr/bin/coherd",
    "/usr/lib/coherd/libVkLayer_coherd.so",
    "/usr/lib/systemd/system/coherd@.service",
    "/usr/share/qemu/vhost-user/60-coherd.json",
    "/usr/share/man/man1/coherd.1",
    "/usr/share/man/man5/coherd.toml.5",
    "/usr/share/doc/coherd/coherd.cdx.json",
    "/etc/coherd/coherd.toml",
];

/// Has the .deb installed, used by a VMM through a socket of systemd's, and removed.
pub fn deb(lab: &Lab, deb: &Path, tally: &mut Tally) -> Result<(), DistError> {
    let inside = Path::new(SOURCE).join(deb.strip_prefix(lab.checkout()).unwrap_or(deb));
    let mut script = lab
        .command("sh")
        .args(["-c", SCRIPT, "install.sh"])
        .arg(inside)
        .arg(lab.run_dir())
        .stdin(Stdio::null())
        .spawn()
        .map_err(io("start a shell in the lab"))?;
    let socket = lab.run_dir().join("gpu.sock");
    let served = is_served(&socket, &mut script);
    let ended = script.wait().map_err(io("wait for the shell"))?;
    report(".deb installs and leaves nothing", ended.success(), tally);
    report(
        "installed coherd serves a socket of systemd's",
        served,
        tally,
    );
    println!("SKIPPED: the units start: init is not systemd in the lab");
    tally.skipped += 1;
    Ok(())
}

/// Whether the program behind the socket answers as a vhost-user back-end.
fn is_served(socket: &Path, script: &mut Child) -> bool {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline && matches!(script.try_wait(), Ok(None)) {
        if let Ok(stream) = UnixStream::connect(socket) {
            return answers(stream).is_ok();
        }
        thread::sleep(PAUSE);
    }
    false
}

fn answers(mut stream: UnixStream) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&GET_FEATURES.map(u32::to_ne_bytes).concat())?;
    stream.read_exact(&mut [0; ANSWER])
}

/// Has `rpm` read the .rpm.
pub fn rpm(lab: &Lab, rpm: &Path, tally: &mut Tally) -> Result<(), DistError> {
    let inside = Path::new(SOURCE).join(rpm.strip_prefix(lab.checkout()).unwrap_or(rpm));
    let ask = |arguments: &[&str]| {
        let output = lab.command("rpm").args(arguments).arg(&inside).output();
        output.map_err(io("start rpm in the lab"))
    };
    let listed = ask(&["--query", "--package", "--list"])?;
    let list = String::from_utf8_lossy(&listed.stdout);
    let is_whole = FILES
        .iter()
        .all(|file| list.lines().any(|line| line == *file));
    report(
        ".rpm has its files",
        listed.status.success() && is_whole,
        tally,
    );
    let checked = ask(&["--checksig", "--nosignature"])?;
    report(
        "digests of the .rpm are right",
        checked.status.success(),
        tally,
    );
    Ok(())
}

fn report(name: &str, passed: bool, tally: &mut Tally) {
    println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
    *match passed {
        true => &mut tally.passed,
        false => &mut tally.failed,
    } += 1;
}
