//! The program as a service manager starts it: sockets handed down, and notices.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long a notice may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Makes the sockets that fds 0 and 3 are, in the process that becomes coherd.
const ACTIVATE: &str = "exec 3<&0 </dev/null; export LISTEN_PID=$$ LISTEN_FDS=1; exec \"$@\"";

struct Service {
    folder: tempfile::TempDir,
    notices: UnixDatagram,
}

impl Service {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let notices = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        notices.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { folder, notices }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("gpu.sock")
    }

    /// coherd with a listening socket of this name as fd 3.
    fn activate(&self, name: &str, arguments: &[&str]) -> Child {
        let listener = UnixListener::bind(self.socket()).unwrap();
        Command::new("sh")
            .args(["-c", ACTIVATE, "sh", env!("CARGO_BIN_EXE_coherd")])
            .args(["--renderer", "2d"])
            .args(arguments)
            .env("LISTEN_FDNAMES", name)
            .env("NOTIFY_SOCKET", self.folder.path().join("notify"))
            .env_remove("WATCHDOG_PID")
            .env("WATCHDOG_USEC", "300000")
            .stdin(OwnedFd::from(listener))
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    /// The next notice that is not about the watchdog.
    fn notice(&self) -> String {
        loop {
            let notice = self.any_notice();
            if notice != "WATCHDOG=1" {
                return notice;
            }
        }
    }

    fn any_notice(&self) -> String {
        let mut buffer = [0; 4096];
        let len = self.notices.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..len].to_vec()).unwrap()
    }

    fn until_watchdog(&self) {
        while self.any_notice() != "WATCHDOG=1" {}
    }
}

fn send(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(child.id().cast_signed()).unwrap();
    kill_process(pid, signal).unwrap();
}

#[test]
fn socket_of_the_service_manager_is_served_and_left_to_it() {
    for name in ["vhost-user", "coherd@vm.socket"] {
        let service = Service::new();
        let mut child = service.activate(name, &[]);
        assert_eq!(service.notice(), "READY=1");
        assert_eq!(service.notice(), "STATUS=Waiting for the VMM");

        let vmm = UnixStream::connect(service.socket()).unwrap();
        let status = service.notice();
        let me = format!("STATUS=Serving the VMM, process {}", std::process::id());
        assert_eq!(status, me);
        drop(vmm);

        assert!(service.notice().starts_with("STOPPING=1"));
        assert!(child.wait().unwrap().success());
        assert!(service.socket().exists());
    }
}

#[test]
fn socket_for_peers_is_not_taken_for_the_vmms() {
    let service = Service::new();
    // The test's socket is for streams, and peers speak in packets.
    let mut child = service.activate("sync", &[]);
    assert_eq!(child.wait().unwrap().code(), Some(1));
}

#[test]
fn service_that_persists_says_when_it_waits_again() {
    let service = Service::new();
    let mut child = service.activate("vhost-user", &["--persist"]);
    assert_eq!(service.notice(), "READY=1");
    for _ in 0..2 {
        assert_eq!(service.notice(), "STATUS=Waiting for the VMM");
        drop(UnixStream::connect(service.socket()).unwrap());
        assert!(service.notice().starts_with("STATUS=Serving"));
    }
    assert_eq!(service.notice(), "STATUS=Waiting for the VMM");
    send(&child, Signal::TERM);
    assert!(service.notice().starts_with("STOPPING=1"));
    assert!(child.wait().unwrap().success());
}

#[test]
fn watchdog_is_told_while_there_is_a_vmm_and_while_there_is_none() {
    let service = Service::new();
    let mut child = service.activate("vhost-user", &[]);
    let began = Instant::now();
    for _ in 0..3 {
        service.until_watchdog();
    }
    // A third of the interval passes between two.
    assert!(began.elapsed() > Duration::from_millis(150));
    let vmm = UnixStream::connect(service.socket()).unwrap();
    while !service.any_notice().starts_with("STATUS=Serving") {}
    for _ in 0..3 {
        service.until_watchdog();
    }
    drop(vmm);
    assert!(child.wait().unwrap().success());
}

#[test]
fn watchdog_is_not_told_when_the_device_thread_stands_still() {
    let service = Service::new();
    let mut child = service.activate("vhost-user", &[]);
    service.until_watchdog();
    let keeper = child.id();
    let children = format!("/proc/{keeper}/task/{keeper}/children");
    let caged = std::fs::read_to_string(children).unwrap();
    let tasks = std::fs::read_dir(format!("/proc/{}/task", caged.trim())).unwrap();
    // Others may end while they are looked at.
    let name = |task: &PathBuf| std::fs::read_to_string(task.join("comm")).unwrap_or_default();
    let gpu = tasks
        .map(|task| task.unwrap().path())
        .find(|task| name(task).trim() == "gpu")
        .unwrap();
    let tid = gpu.file_name().unwrap().to_str().unwrap().parse().unwrap();
    let tid = nix::unistd::Pid::from_raw(tid);
    nix::sys::ptrace::seize(tid, nix::sys::ptrace::Options::empty()).unwrap();
    nix::sys::ptrace::interrupt(tid).unwrap();
    nix::sys::wait::waitpid(tid, Some(nix::sys::wait::WaitPidFlag::__WALL)).unwrap();

    // What was on its way comes, and then nothing, though the main thread runs.
    service
        .notices
        .set_read_timeout(Some(Duration::from_secs(1)))
        .unwrap();
    let quiet = (0..5).any(|_| service.notices.recv(&mut [0; 4096]).is_err());
    assert!(quiet);

    // A traced thread would have to be waited for as well.
    nix::sys::ptrace::detach(tid, None).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
}
