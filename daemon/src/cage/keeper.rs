//! The process that was started, outside: it passes signals on, answers the few questions of
//! [`Door`](super::Door), and ends as the daemon ends. So libvirt, systemd and shells can treat
//! it as the daemon.

use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use nix::sys::signal::{SigSet, SigmaskHow, Signal as NixSignal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::retry_on_intr;
use rustix::process::{Pid, Resource, Signal, WaitOptions, WaitStatus, kill_process, waitpid};
use rustix::thread::CapabilitySet;

use super::namespace::{exit_now, passed_on};
use super::seccomp::{self, Policy};
use super::{Outside, SeccompMode, door, limits};

/// See the module's description.
pub struct Keeper {
    daemon: Pid,
    outside: Outside,
    signals: SignalFd,
    seccomp: SeccompMode,
}

/// Blocks the signals of the keeper, and returns what was blocked before.
pub fn block_signals() -> nix::Result<SigSet> {
    watched().thread_swap_mask(SigmaskHow::SIG_BLOCK)
}

fn watched() -> SigSet {
    let mut signals = passed_on();
    signals.add(NixSignal::SIGCHLD);
    signals
}

/// Waits for the end of a child; its exit status, or `None` if a signal ended it.
pub fn wait_for(child: Pid) -> Option<i32> {
    let waited = retry_on_intr(|| waitpid(Some(child), WaitOptions::empty()));
    waited.ok()??.1.exit_status()
}

impl Keeper {
    /// Keeps `daemon`, a child. The signals are blocked.
    pub fn new(daemon: Pid, outside: Outside, seccomp: SeccompMode) -> nix::Result<Self> {
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        Ok(Self {
            daemon,
            outside,
            signals: SignalFd::with_flags(&watched(), flags)?,
            seccomp,
        })
    }

    /// Follows the daemon to its end.
    pub fn run(self, door: &OwnedFd) -> ! {
        self.confine(door);
        let mut door = Some(door);
        loop {
            let mut fds = vec![PollFd::new(&self.signals, PollFlags::IN)];
            fds.extend(door.map(|door| PollFd::new(door, PollFlags::IN)));
            if retry_on_intr(|| poll(&mut fds, None)).is_err() {
                exit_now(1);
            }
            let asked = fds.get(1).is_some_and(|fd| !fd.revents().is_empty());
            while let Ok(Some(signal)) = self.signals.read_signal() {
                self.pass_on(signal.ssi_signo);
            }
            if let Some(status) = self.end() {
                self.follow(status);
            }
            if asked && !door.is_some_and(|socket| door::answer(socket, &self.outside)) {
                door = None;
            }
        }
    }

    /// Gives up what a keeper does not need. What is impossible here was possible, or will be
    /// told, in the daemon.
    fn confine(&self, door: &OwnedFd) {
        close_all_but(&[door.as_raw_fd(), self.signals.as_raw_fd()]);
        let _ = limits::forbid_new_privileges();
        // The socket file may be in a folder of another user.
        let _ = limits::drop_capabilities(CapabilitySet::DAC_OVERRIDE, true);
        seccomp::set_mode(self.seccomp, false);
        let _ = seccomp::install(Policy::Keeper);
    }

    fn pass_on(&self, signal: u32) {
        let signal = i32::try_from(signal).ok().and_then(Signal::from_named_raw);
        if let Some(signal) = signal.filter(|signal| *signal != Signal::CHILD) {
            let _ = kill_process(self.daemon, signal);
        }
    }

    fn end(&self) -> Option<WaitStatus> {
        match waitpid(Some(self.daemon), WaitOptions::NOHANG) {
            Ok(waited) => waited.map(|(_, status)| status),
            // Not to wait for ever for a process that is no child.
            Err(_) => exit_now(1),
        }
    }

    /// Ends as the daemon did.
    fn follow(&self, status: WaitStatus) -> ! {
        for socket in &self.outside.sockets {
            socket.remove_by_path();
        }
        let Some(signal) = status.terminating_signal() else {
            exit_now(status.exit_status().unwrap_or(1));
        };
        if signal == libc::SIGSYS {
            let _ = writeln!(
                std::io::stderr(),
                "coherd: killed for a system call that its policy does not have; \
                 --seccomp log lets the kernel's log say which"
            );
        }
        die_of(signal);
        exit_now(128 + signal);
    }
}

/// Ends this process by a signal, without a core dump of its own.
fn die_of(signal: i32) {
    let _ = limits::forbid(Resource::Core);
    let Ok(signal) = NixSignal::try_from(signal) else {
        return;
    };
    // SAFETY: the default action runs no code of this process.
    let _ = unsafe { nix::sys::signal::signal(signal, nix::sys::signal::SigHandler::SigDfl) };
    let _ = SigSet::from(signal).thread_unblock();
    let _ = nix::sys::signal::raise(signal);
}

/// Closes what the daemon has as well, standard error apart: a VMM sees the end of a connection
/// only if nobody else holds it.
fn close_all_but(kept: &[RawFd; 2]) {
    if let Ok(null) = std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/null")
    {
        let _ = rustix::stdio::dup2_stdin(&null);
        let _ = rustix::stdio::dup2_stdout(&null);
    }
    let mut numbers = kept.map(RawFd::cast_unsigned);
    numbers.sort_unstable();
    let mut first = 3;
    for number in numbers {
        close_range(first, number.saturating_sub(1));
        first = first.max(number + 1);
    }
    close_range(first, u32::MAX);
}

fn close_range(first: u32, last: u32) {
    if first <= last {
        // SAFETY: nothing in this process uses these files again: it runs the keeper and ends
        // without dropping what it inherited.
        unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    }
}
