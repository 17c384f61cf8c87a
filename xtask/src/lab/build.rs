//! Building a lab: mmdebstrap makes the root, tar lays it out in the cache.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};

use rustix::process::geteuid;

use super::cache::{self, Cache};
use super::{LabError, mirror, recipe, versions};
use crate::progress::Progress;

const INSTALL: &str = "apt-get update && apt-get install -y --no-install-recommends mmdebstrap debian-archive-keyring";

/// How many lines of a failed program an error shows.
const TAIL: usize = 15;

/// Builds the lab `key`; `lock` is its exclusive lock.
pub fn build(cache: &Cache, key: &str, lock: &File, progress: &Progress) -> Result<(), LabError> {
    let staging = cache.staging(key);
    if staging.exists() {
        progress.say("removing what an interrupted build left");
        cache::remove_tree(&staging)?;
    }
    require_mmdebstrap(progress)?;
    let mirror = mirror::find()?;
    let (root, scratch) = (staging.join("root"), staging.join("tmp"));
    for dir in [&root, &scratch] {
        fs::create_dir_all(dir)
            .map_err(LabError::io(format!("create the folder {}", dir.display())))?;
    }
    progress.say("building the lab, a Debian root file system; this takes a minute or two");
    bootstrap(&mirror, &staging, &cache.log(key), lock, progress)?;
    finish(&staging, &root)?;
    cache::remove_tree(&scratch)?;
    let entry = cache.entry(key);
    fs::rename(&staging, &entry).map_err(LabError::io(format!(
        "move the finished lab to {}",
        entry.display()
    )))?;
    progress.say("the lab is built");
    Ok(())
}

fn bootstrap(
    mirror: &str,
    staging: &Path,
    log: &Path,
    lock: &File,
    progress: &Progress,
) -> Result<(), LabError> {
    let start = |program: &mut Command, name: &str| {
        program
            .spawn()
            .map_err(LabError::io(format!("start {name} to build the lab")))
    };
    // The lock as standard input stays held until the last process of the build is gone, even when this one is killed.
    let held = || {
        lock.try_clone()
            .map(Stdio::from)
            .map_err(LabError::io("share the lock of the lab"))
    };
    let mut mmdebstrap = Command::new("setpriv");
    if geteuid().is_root() {
        // The processes of its package tools must end with it; its mounts too, or a later removal would reach
        // through them.
        mmdebstrap
            .args(["--pdeathsig", "KILL"])
            .args(["unshare", "--pid", "--fork", "--kill-child"])
            .args(["--mount", "--propagation", "private", "--mount-proc"])
            .args(["mmdebstrap", "--mode=root"])
            .env("TMPDIR", staging.join("tmp"));
    } else {
        mmdebstrap.args(["--pdeathsig", "TERM", "mmdebstrap", "--mode=unshare"]);
    }
    mmdebstrap
        .args(["--format=tar"])
        .args(recipe::arguments())
        .args([recipe::SUITE, "-"])
        .args(recipe::sources(mirror))
        .stdin(held()?)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut mmdebstrap = start(&mut mmdebstrap, "mmdebstrap")?;
    let archive = mmdebstrap
        .stdout
        .take()
        .map_or_else(Stdio::null, Stdio::from);
    let mut tar = Command::new("tar");
    // Device nodes need privileges, and a program inside the lab sees the host's.
    tar.args(["--extract", "--exclude=./dev/*", "--directory"])
        .arg(staging.join("root"))
        .stdin(archive)
        .stderr(Stdio::inherit());
    let tar = start(&mut tar, "tar");
    let tail = mmdebstrap
        .stderr
        .take()
        .map_or_else(|| Ok(String::new()), |lines| forward(lines, log, progress))?;
    let advice = format!("everything it printed is in {}", log.display());
    expect_success(mmdebstrap, "mmdebstrap", &advice, &tail)?;
    expect_success(tar?, "tar", "see what it printed above", "")
}

/// Shows mmdebstrap's own progress lines as they come; returns its last lines.
fn forward(lines: ChildStderr, log: &Path, progress: &Progress) -> Result<String, LabError> {
    let log_failed = |source| LabError::Io {
        action: format!("write {}", log.display()),
        source,
    };
    let mut log_file = File::create(log).map_err(log_failed)?;
    let _waiting = progress.waiting("building the lab");
    let mut tail = VecDeque::new();
    for line in BufReader::new(lines).lines() {
        let line = line.map_err(LabError::io("read what mmdebstrap prints"))?;
        writeln!(log_file, "{line}").map_err(log_failed)?;
        if ["I: ", "W: ", "E: "]
            .iter()
            .any(|kind| line.starts_with(kind))
        {
            progress.say(&line);
        }
        if tail.len() == TAIL {
            tail.pop_front();
        }
        tail.push_back(line);
    }
    Ok(Vec::from(tail).join("\n"))
}

fn finish(staging: &Path, root: &Path) -> Result<(), LabError> {
    // A plain file, so that the host's can be mounted over it.
    let resolv = root.join("etc/resolv.conf");
    let _ = fs::remove_file(&resolv);
    fs::write(&resolv, "").map_err(LabError::io(format!("write {}", resolv.display())))?;
    let status = root.join("var/lib/dpkg/status");
    let status =
        fs::read_to_string(&status).map_err(LabError::io(format!("read {}", status.display())))?;
    let path = staging.join("versions");
    fs::write(&path, versions::summary(&status))
        .map_err(LabError::io(format!("write {}", path.display())))
}

fn require_mmdebstrap(progress: &Progress) -> Result<(), LabError> {
    let found = Command::new("mmdebstrap")
        .arg("--version")
        .stdout(Stdio::null())
        .status();
    if found.is_ok_and(|status| status.success()) {
        return Ok(());
    }
    if !geteuid().is_root() {
        return Err(LabError::NoMmdebstrap {
            install: INSTALL.to_owned(),
        });
    }
    progress.say("installing mmdebstrap");
    let _waiting = progress.waiting("installing mmdebstrap");
    let output = Command::new("sh")
        .args(["-c", INSTALL])
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .output()
        .map_err(LabError::io("start a shell to install mmdebstrap"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(LabError::Failed {
        program: "apt-get",
        status: describe(output.status),
        advice: format!("install mmdebstrap by hand; what was run: {INSTALL}"),
        tail: String::from_utf8_lossy(&output.stderr)
            .trim_end()
            .to_owned(),
    })
}

fn expect_success(
    mut child: Child,
    program: &'static str,
    advice: &str,
    tail: &str,
) -> Result<(), LabError> {
    let status = child
        .wait()
        .map_err(LabError::io(format!("wait for {program}")))?;
    if status.success() {
        return Ok(());
    }
    Err(LabError::Failed {
        program,
        status: describe(status),
        advice: advice.to_owned(),
        tail: tail.to_owned(),
    })
}

fn describe(status: ExitStatus) -> String {
    status.signal().map_or_else(
        || format!("exit status {}", status.code().unwrap_or(-1)),
        |signal| format!("killed by signal {signal}"),
    )
}
