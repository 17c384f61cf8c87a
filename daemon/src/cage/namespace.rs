//! Into new namespaces.
//!
//! A process cannot enter a new pid namespace, only its next child can. So there are two forks:
//! the process that was started becomes the keeper; its child makes the namespaces, starts the
//! daemon in them as their first process, and ends. When the daemon ends, whatever else runs in
//! its pid namespace is killed.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::sys::signal::SigSet;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair,
};
use rustix::process::{
    Pid, Signal, getegid, geteuid, set_child_subreaper, set_parent_process_death_signal,
};
use rustix::thread::{UnshareFlags, unshare_unsafe};

use super::keeper::{self, Keeper};
use super::{CageError, Outside, Sandbox, SeccompMode};

/// What the keeper says once the daemon is its child.
const GO: [u8; 1] = [b'g'];

/// Only a process without threads can fork and unshare as a whole.
pub fn require_single_thread() -> Result<(), CageError> {
    let threads = fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    match threads {
        1 => Ok(()),
        more => Err(CageError::Threads(more)),
    }
}

/// Returns in the daemon, in its namespaces, with its door to the keeper.
pub fn enter(
    sandbox: Sandbox,
    outside: Outside,
    seccomp: SeccompMode,
) -> Result<OwnedFd, CageError> {
    let kind = (AddressFamily::UNIX, SocketType::SEQPACKET);
    let (theirs, ours) = socketpair(kind.0, kind.1, SocketFlags::CLOEXEC, None)
        .map_err(|errno| CageError::Process(errno.into()))?;
    // A signal that comes before the keeper can pass it on waits.
    let before = keeper::block_signals().map_err(failed)?;
    // What the middle process leaves behind comes to this one; it may be quick.
    set_child_subreaper(Some(Pid::INIT)).map_err(|errno| CageError::Process(errno.into()))?;
    if let Some(middle) = fork()? {
        drop(ours);
        watch(middle, &theirs, outside, seccomp)
    }
    drop(theirs);
    unshare(sandbox)?;
    if let Some(daemon) = fork()? {
        let pid = daemon.as_raw_pid().to_le_bytes();
        let sent = send(&ours, &pid, SendFlags::NOSIGNAL);
        exit_now(i32::from(sent.is_err()));
    }
    follow_keeper(&ours)?;
    before.thread_set_mask().map_err(failed)?;
    Ok(ours)
}

/// The keeper's side of the two forks.
fn watch(middle: Pid, door: &OwnedFd, outside: Outside, seccomp: SeccompMode) -> ! {
    let mut pid = [0; 4];
    let read = recv(door, &mut pid, RecvFlags::empty()).map_or(0, |(_, read)| read);
    let status = keeper::wait_for(middle);
    let daemon = Pid::from_raw(i32::from_le_bytes(pid)).filter(|_| read == pid.len());
    let Some(daemon) = daemon.filter(|_| status == Some(0)) else {
        // It has said why.
        exit_now(status.filter(|status| *status != 0).unwrap_or(1));
    };
    match Keeper::new(daemon, outside, seccomp) {
        Ok(keeper) if send(door, &GO, SendFlags::NOSIGNAL).is_ok() => keeper.run(door),
        // The daemon sees the door close, and ends.
        _ => exit_now(1),
    }
}

/// Waits until the keeper is this process's parent, and binds its life to the keeper's.
fn follow_keeper(door: &OwnedFd) -> Result<(), CageError> {
    let gone = || CageError::Process(io::Error::other("its keeper is gone"));
    let went = |read| matches!(read, Ok((_, 1)));
    if !went(recv(door, &mut [0; 1], RecvFlags::empty())) {
        return Err(gone());
    }
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|errno| CageError::Process(errno.into()))?;
    // It may have died just before.
    match recv(door, &mut [0; 1], RecvFlags::DONTWAIT | RecvFlags::PEEK) {
        Err(rustix::io::Errno::AGAIN) => Ok(()),
        _ => Err(gone()),
    }
}

fn unshare(sandbox: Sandbox) -> Result<(), CageError> {
    if sandbox == Sandbox::Chroot {
        // SAFETY: the file descriptor table, the one thing that is unsound to unshare, stays.
        return unsafe { unshare_unsafe(UnshareFlags::NEWNS) }
            .map_err(|errno| CageError::MountNamespace(errno.into()));
    }
    let (user, group) = (geteuid().as_raw(), getegid().as_raw());
    let flags = UnshareFlags::NEWUSER
        | UnshareFlags::NEWNS
        | UnshareFlags::NEWPID
        | UnshareFlags::NEWIPC
        | UnshareFlags::NEWUTS
        | UnshareFlags::NEWNET;
    // SAFETY: as above.
    unsafe { unshare_unsafe(flags) }.map_err(|errno| CageError::UserNamespace(errno.into()))?;
    // One user and one group, with the numbers they have outside: files keep their owners.
    for (file, text) in [
        ("setgroups", "deny".to_owned()),
        ("uid_map", format!("{user} {user} 1")),
        ("gid_map", format!("{group} {group} 1")),
    ] {
        fs::write(Path::new("/proc/self").join(file), text)
            .map_err(|source| CageError::UserMap { file, source })?;
    }
    set_host_name("coherd");
    Ok(())
}

/// Hides the host's name. Where that fails, only a name is known.
fn set_host_name(name: &str) {
    // SAFETY: the pointer and the length are those of a string that outlives the call.
    unsafe { libc::sethostname(name.as_ptr().cast(), name.len()) };
}

/// `None` in the child.
pub(super) fn fork() -> Result<Option<Pid>, CageError> {
    // SAFETY: this process has one thread (`require_single_thread`), so that the child has
    // everything as it is here, locks included.
    match unsafe { libc::fork() } {
        -1 => Err(CageError::Process(io::Error::last_os_error())),
        child => Ok(Pid::from_raw(child)),
    }
}

/// Ends this process without what others registered for the end of theirs.
pub(super) fn exit_now(status: i32) -> ! {
    // SAFETY: it has no preconditions.
    unsafe { libc::_exit(status) }
}

fn failed(errno: nix::Error) -> CageError {
    CageError::Process(errno.into())
}

/// The signals that the keeper passes on.
pub(super) fn passed_on() -> SigSet {
    use nix::sys::signal::Signal as S;
    [S::SIGTERM, S::SIGINT, S::SIGHUP, S::SIGUSR1, S::SIGUSR2]
        .into_iter()
        .collect()
}
