//! Becoming a program inside the lab: the child's side.
//!
//! Everything happens by exec in one process, so the program keeps the pid its parent knows. Mounts are made in a
//! mount namespace of its own, which the host never sees. The root is changed by `pivot_root`, because the kernel
//! refuses user namespaces to programs under `chroot`, and the daemon's sandbox needs one.

use std::convert::Infallible;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;
use rustix::fs::{StatVfsMountFlags, statvfs};
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_bind_recursive,
    mount_change, mount_remount, unmount,
};
use rustix::process::{
    Signal, chdir, getegid, geteuid, getppid, pivot_root, set_parent_process_death_signal,
};
use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Why a program cannot be started inside the lab.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnterError {
    /// Namespaces are not allowed.
    #[error(
        "cannot enter the lab: this machine allows no new mount namespace here; \
         run as root, or allow unprivileged user namespaces"
    )]
    Namespaces {
        /// What the system said.
        source: io::Error,
    },
    /// A step of the way in failed.
    #[error("cannot {action} on the way into the lab")]
    Step {
        /// What was tried.
        action: String,
        /// What the system said.
        source: io::Error,
    },
    /// The parent is gone, and nobody would stop the program.
    #[error("the program that entered the lab is gone, so nothing is started for it")]
    Orphan,
    /// The program is not there or cannot run.
    #[error("cannot run {} inside the lab; is it built or in the recipe?", program.display())]
    Program {
        /// What was to be run.
        program: OsString,
        /// What the system said.
        source: io::Error,
    },
}

/// What the program is to see.
#[derive(Args, Debug)]
pub struct Plan {
    /// Process that this one must not outlive
    #[arg(long)]
    parent: i32,
    /// The lab's root
    #[arg(long)]
    root: PathBuf,
    /// Working folder inside
    #[arg(long)]
    directory: PathBuf,
    /// Show a host path inside
    #[arg(long, num_args = 2, value_names = ["HOST", "INSIDE"])]
    bind: Vec<PathBuf>,
    /// Show a host path inside, for reading
    #[arg(long, num_args = 2, value_names = ["HOST", "INSIDE"])]
    bind_read_only: Vec<PathBuf>,
    /// The program and its arguments
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// Turns this process into the program; returns only on failure.
pub fn enter(plan: &Plan) -> Result<Infallible, EnterError> {
    private_mounts()?;
    build_view(plan)?;
    change_root(&plan.root, &plan.directory)?;
    // After the namespaces, because a change of credentials clears it.
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(step("tie the program to its parent"))?;
    if getppid().is_none_or(|parent| parent.as_raw_pid() != plan.parent) {
        return Err(EnterError::Orphan);
    }
    let (program, arguments) = plan.command.split_first().ok_or(EnterError::Orphan)?;
    let source = Command::new(program).args(arguments).exec();
    Err(EnterError::Program {
        program: program.clone(),
        source,
    })
}

fn private_mounts() -> Result<(), EnterError> {
    let (user, group) = (geteuid(), getegid());
    let flags = if user.is_root() {
        UnshareFlags::NEWNS
    } else {
        UnshareFlags::NEWNS | UnshareFlags::NEWUSER
    };
    // SAFETY: the file descriptor table, the one thing that is unsound to unshare, stays shared.
    unsafe { unshare_unsafe(flags) }.map_err(|errno| EnterError::Namespaces {
        source: errno.into(),
    })?;
    if !user.is_root() {
        for (file, text) in [
            ("setgroups", "deny".to_owned()),
            ("uid_map", format!("0 {user} 1")),
            ("gid_map", format!("0 {group} 1")),
        ] {
            fs::write(Path::new("/proc/self").join(file), text).map_err(|source| {
                EnterError::Step {
                    action: format!("write {file} of the user namespace"),
                    source,
                }
            })?;
        }
    }
    mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )
    .map_err(step("keep mounts from the host"))
}

fn build_view(plan: &Plan) -> Result<(), EnterError> {
    mount_bind(&plan.root, &plan.root).map_err(step("bind the root"))?;
    read_only(&plan.root)?;
    for folder in ["tmp", "run"] {
        mount(
            "tmpfs",
            plan.root.join(folder),
            "tmpfs",
            MountFlags::NOSUID | MountFlags::NODEV,
            c"mode=1777",
        )
        .map_err(step(format!("mount a file system on /{folder}")))?;
    }
    for (host, inside) in pairs(&plan.bind) {
        let target = mount_point(&plan.root, host, inside)?;
        // A user namespace may not show part of a tree without what is mounted over it.
        mount_bind_recursive(host, &target).map_err(step(format!("bind {}", inside.display())))?;
    }
    for (host, inside) in pairs(&plan.bind_read_only) {
        let target = mount_point(&plan.root, host, inside)?;
        mount_bind(host, &target).map_err(step(format!("bind {}", inside.display())))?;
        read_only(&target)?;
    }
    Ok(())
}

fn pairs(paths: &[PathBuf]) -> impl Iterator<Item = (&Path, &Path)> {
    paths
        .chunks_exact(2)
        .map(|pair| (pair[0].as_path(), pair[1].as_path()))
}

fn mount_point(root: &Path, host: &Path, inside: &Path) -> Result<PathBuf, EnterError> {
    let target = root.join(inside.strip_prefix("/").unwrap_or(inside));
    if target.exists() {
        return Ok(target);
    }
    let action = || format!("make {}, a mount point", inside.display());
    if host.is_dir() {
        fs::create_dir_all(&target).map_err(step_io(action()))?;
    } else {
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).map_err(step_io(action()))?;
        }
        File::create(&target).map_err(step_io(action()))?;
    }
    Ok(target)
}

/// Keeps the mount's other restrictions, which a user namespace may not lift.
fn read_only(target: &Path) -> Result<(), EnterError> {
    let failed = || format!("make {} read-only", target.display());
    let now = statvfs(target).map_err(step(failed()))?.f_flag;
    let mut flags = MountFlags::BIND | MountFlags::RDONLY;
    for (is, keep) in [
        (StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
        (StatVfsMountFlags::NODEV, MountFlags::NODEV),
        (StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
    ] {
        if now.contains(is) {
            flags |= keep;
        }
    }
    mount_remount(target, flags, "").map_err(step(failed()))
}

fn change_root(root: &Path, directory: &Path) -> Result<(), EnterError> {
    chdir(root).map_err(step("go to the root"))?;
    // With the same folder twice the old root ends up on top of the new one, and needs no place inside it.
    pivot_root(".", ".").map_err(step("change the root"))?;
    unmount(".", UnmountFlags::DETACH).map_err(step("leave the old root"))?;
    chdir(directory).map_err(step(format!("go to {}", directory.display())))
}

fn step(action: impl Into<String>) -> impl FnOnce(rustix::io::Errno) -> EnterError {
    let wrap = step_io(action);
    move |errno| wrap(errno.into())
}

fn step_io(action: impl Into<String>) -> impl FnOnce(io::Error) -> EnterError {
    let action = action.into();
    move |source| EnterError::Step { action, source }
}
