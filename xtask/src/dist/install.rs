//! Packages in use.

use std::panic::resume_unwind;
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::{DistError, io};
use crate::demo;
use crate::explain::one_line;
use crate::lab::{Lab, SOURCE};
use crate::progress::Progress;
use crate::tally::Tally;

const FRESH: &str = include_str!("fresh.sh");
const INSTALL: &str = include_str!("install.sh");
const BOOT: &str = include_str!("boot.sh");

/// The status of a script that this machine cannot run.
const IMPOSSIBLE: i32 = 77;

/// How long it may take until a VMM can connect.
const PATIENCE: Duration = Duration::from_secs(180);
/// Between two looks whether the socket is there.
const PAUSE: Duration = Duration::from_millis(50);

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

/// Has the .deb installed, used by the demonstration's guest through a socket of systemd's, and
/// removed; beside that the same with the units, under a systemd of their own.
pub fn deb(lab: &Lab, deb: &Path, progress: &Progress, tally: &mut Tally) -> Result<(), DistError> {
    let copy = Copy { lab, deb, progress };
    let (installed, booted) = thread::scope(|scope| {
        let booted = scope.spawn(|| copy.run(BOOT, "units/vm.sock"));
        let installed = copy.run(INSTALL, "gpu.sock");
        (installed, booted.join())
    });
    let (status, drawn) = installed?;
    report(".deb installs and leaves nothing", status.success(), tally);
    report("installed coherd draws for the demo's guest", drawn, tally);
    let (status, drawn) = booted.unwrap_or_else(|panic| resume_unwind(panic))?;
    if status.code() == Some(IMPOSSIBLE) {
        println!("SKIPPED: units under systemd: this machine boots none in a namespace, see above");
        tally.skipped += 1;
        return Ok(());
    }
    report("units start, stop and are removed", status.success(), tally);
    report("coherd@.service draws for the demo's guest", drawn, tally);
    Ok(())
}

/// Fresh copies of the lab, in which the package is used.
struct Copy<'a> {
    lab: &'a Lab,
    deb: &'a Path,
    progress: &'a Progress,
}

impl Copy<'_> {
    /// Runs a script in one, and a guest on the socket that it leaves at `socket` in the folder it
    /// shares. Returns how the script ended and whether the guest drew.
    fn run(&self, script: &str, socket: &str) -> Result<(ExitStatus, bool), DistError> {
        let Self { lab, deb, progress } = *self;
        let inside = Path::new(SOURCE).join(deb.strip_prefix(lab.checkout()).unwrap_or(deb));
        let mut child = lab
            .command("sh")
            .args(["-c", &format!("{FRESH}\n{script}"), "sh"])
            .arg(inside)
            .arg(lab.run_dir())
            .stdin(Stdio::null())
            .spawn()
            .map_err(io("start a shell in the lab"))?;
        let socket = lab.run_dir().join(socket);
        let drawn = appears(&socket, &mut child) && {
            let drawn = demo::draw(lab, &socket, progress);
            match &drawn {
                Ok(what) => println!("{what}"),
                Err(error) => println!("{}", one_line(error)),
            }
            drawn.is_ok()
        };
        let ended = child.wait().map_err(io("wait for the shell"))?;
        Ok((ended, drawn))
    }
}

/// Whether there is a socket before the script ends.
fn appears(socket: &Path, script: &mut Child) -> bool {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline && matches!(script.try_wait(), Ok(None)) {
        if socket.exists() {
            return true;
        }
        thread::sleep(PAUSE);
    }
    false
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
