//! Attempts to get out of the cage, from a thread as confined as that which serves the guest, and
//! from a program as confined as the render server. Each is made without a cage as well, where it
//! works, and with one layer alone, which tells who stops it.
//!
//! An attempt is a process of this program: it enters the cage and ends with 0 if it got out,
//! else with the number of the error, or by the signal of a filter.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(
    clippy::undocumented_unsafe_blocks,
    reason = "attempts are calls that should fail, with arguments that live on the stack"
)]

mod attempt;

use std::env;
use std::fmt::{self, Display};
use std::fs::File;
use std::net::TcpListener;
use std::os::fd::{AsFd, AsRawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitCode, exit};

use coherd::cage::plan::{Plan, Purpose};
use coherd::cage::{self, Cage, Outside, Sandbox, SeccompMode, Thread};
use rustix::process::{WaitOptions, waitpid};

use attempt::{ALL, Attempt, Target};

const ATTEMPT: &str = "COHERD_ESCAPE_ATTEMPT";
const INSIDE: &str = "COHERD_ESCAPE_INSIDE";
/// Where this program is: in the cage, /proc/self/exe leads nowhere.
const PROGRAM: &str = "COHERD_ESCAPE_PROGRAM";

/// An exit status above those of errors: the attempt was not made.
const BROKEN: i32 = 199;
/// Ends by signals, as a shell has them, above the errors.
const SIGNALS: i32 = 200;

/// In what an attempt is made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Inside {
    Nothing,
    Thread,
    Server,
    Root,
    Privileges,
    Landlock,
    Seccomp,
}

const LAYERS: [Inside; 4] = [
    Inside::Root,
    Inside::Privileges,
    Inside::Landlock,
    Inside::Seccomp,
];

impl Inside {
    const ALL: [Self; 7] = [
        Self::Nothing,
        Self::Thread,
        Self::Server,
        Self::Root,
        Self::Privileges,
        Self::Landlock,
        Self::Seccomp,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Thread => "the device thread",
            Self::Server => "the render server",
            Self::Root => "namespaces",
            Self::Privileges => "privileges",
            Self::Landlock => "landlock",
            Self::Seccomp => "seccomp",
        }
    }

    fn cage(self) -> Cage {
        let all = matches!(self, Self::Thread | Self::Server);
        let either = |yes, one, other| if yes { one } else { other };
        let purpose = Purpose {
            vulkan: true,
            server: (self == Self::Server).then(|| env::current_exe().unwrap()),
            ..Purpose::default()
        };
        // The driver that needs most; its compiler has the render server map writable code, and with
        // the others nothing may.
        let mut plan = Plan::new(purpose, &[], |_| None);
        plan.jit = self != Self::Server;
        Cage {
            sandbox: either(all || self == Self::Root, Sandbox::Namespace, Sandbox::None),
            seccomp: match all || self == Self::Seccomp {
                true => SeccompMode::Kill,
                false => SeccompMode::None,
            },
            landlock: all || self == Self::Landlock,
            plan,
        }
    }
}

/// How an attempt ended.
#[derive(Clone, Copy, PartialEq, Eq)]
struct End(i32);

impl End {
    const OUT: Self = Self(0);

    fn is_filter(self) -> bool {
        self.0 == SIGNALS + libc::SIGSYS
    }

    /// Whether it says that the attempt was made.
    fn is_sound(self) -> bool {
        self.0 < BROKEN || self.is_filter()
    }
}

impl Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("got out"),
            error if error < BROKEN => {
                write!(f, "{}", std::io::Error::from_raw_os_error(error))
            }
            BROKEN => f.write_str("was not made"),
            signal => write!(f, "signal {}", signal - SIGNALS),
        }
    }
}

fn main() -> ExitCode {
    match (env::var(ATTEMPT), env::var(INSIDE)) {
        (Ok(name), Ok(inside)) => {
            let (_, attempt) = ALL.into_iter().find(|(other, _)| *other == name).unwrap();
            let inside = Inside::ALL.into_iter().find(|one| one.name() == inside);
            make(attempt, inside.unwrap())
        }
        _ => test_all(),
    }
}

/// Makes one attempt, in this process.
fn make(attempt: Attempt, inside: Inside) -> ! {
    let is_server = env::args().any(|argument| argument == "--socket-fd");
    if is_server || inside == Inside::Nothing {
        exit(status_of(attempt()));
    }
    let folder = File::open("/usr/lib").unwrap();
    // SAFETY: this process has one thread.
    unsafe { env::set_var(Target::OPEN_FOLDER, folder.as_raw_fd().to_string()) };
    if let Err(error) = inside.cage().enter(Outside::default()) {
        eprintln!("coherd: {}", coherd::explain::one_line(&error));
        exit(BROKEN);
    }
    match inside {
        Inside::Server => exit(in_server()),
        Inside::Privileges | Inside::Root | Inside::Landlock => {}
        _ => cage::confine(Thread::Device).unwrap(),
    }
    exit(status_of(attempt()))
}

fn status_of(result: std::io::Result<()>) -> i32 {
    match result {
        Ok(()) => 0,
        Err(error) => error.raw_os_error().unwrap_or(BROKEN),
    }
}

/// Has this program started in place of the render server, and returns how it ended.
fn in_server() -> i32 {
    let program = env::var_os(PROGRAM).unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let launcher = cage::launcher().unwrap();
    let pid = launcher
        .launch(&program, std::iter::empty(), theirs.as_fd())
        .unwrap();
    drop(theirs);
    let waited = waitpid(Some(pid), WaitOptions::empty()).unwrap().unwrap();
    drop(ours);
    let by_signal = waited.1.terminating_signal().map(|signal| SIGNALS + signal);
    waited.1.exit_status().or(by_signal).unwrap_or(BROKEN)
}

/// All attempts, in all that they can be made in, in the manner of the usual harness.
fn test_all() -> ExitCode {
    let filter = env::args().skip(1).find(|word| !word.starts_with('-'));
    let chosen: Vec<&str> = ALL
        .iter()
        .map(|(name, _)| *name)
        .filter(|name| {
            filter
                .as_ref()
                .is_none_or(|filter| name.contains(filter.as_str()))
        })
        .collect();
    let network = TcpListener::bind("127.0.0.1:0").unwrap();
    // Elsewhere than in /tmp, which there is in the cage.
    let program = env::current_exe().unwrap();
    let folder = tempfile::tempdir_in(program.parent().unwrap()).unwrap();
    let name = format!("coherd-escape-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let _listener = UnixListener::bind_addr(&address).unwrap();
    let here = Host {
        port: network.local_addr().unwrap().port().to_string(),
        folder: folder.path().to_str().unwrap().to_owned(),
        name,
    };
    println!("\nrunning {} tests", chosen.len());
    let (mut passed, mut failed, mut skipped) = (0, 0, Vec::new());
    for name in chosen {
        match here.test(name) {
            Ok(who) => {
                passed += 1;
                println!("test {name} ... ok ({who})");
            }
            Err(Failure::Skipped(why)) => {
                skipped.push(name);
                println!("test {name} ... ignored\nSKIPPED: {name}: {why}");
            }
            Err(Failure::Wrong(why)) => {
                failed += 1;
                println!("test {name} ... FAILED: {why}");
            }
        }
    }
    let word = if failed == 0 { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {word}. {passed} passed; {failed} failed; {} ignored; 0 measured",
        skipped.len()
    );
    ExitCode::from(u8::from(failed > 0))
}

enum Failure {
    /// It does not work without a cage either, and says nothing.
    Skipped(String),
    Wrong(String),
}

/// What attempts are after.
struct Host {
    port: String,
    folder: String,
    name: String,
}

impl Host {
    /// Who stops an attempt.
    fn test(&self, name: &str) -> Result<String, Failure> {
        let outside = self.run(name, Inside::Nothing);
        if outside != End::OUT {
            return self.test_by_filter(name, outside);
        }
        for inside in [Inside::Thread, Inside::Server] {
            let end = self.run(name, inside);
            if end == End::OUT || !end.is_sound() {
                return Err(Failure::Wrong(format!("in {}: {end}", inside.name())));
            }
        }
        let ends: Vec<(Inside, End)> = LAYERS
            .into_iter()
            .map(|layer| (layer, self.run(name, layer)))
            .collect();
        if let Some((layer, end)) = ends.iter().find(|(_, end)| !end.is_sound()) {
            return Err(Failure::Wrong(format!(
                "with {} alone: {end}",
                layer.name()
            )));
        }
        let who: Vec<String> = ends
            .iter()
            .filter(|(_, end)| *end != End::OUT)
            .map(|(layer, end)| match end.is_filter() {
                true => layer.name().to_owned(),
                false => format!("{}: {end}", layer.name()),
            })
            .collect();
        let stops = |layer: &Inside| {
            ends.iter()
                .any(|(one, end)| one == layer && *end != End::OUT)
        };
        let missing: Vec<&str> = stoppers(name)
            .iter()
            .filter(|layer| !stops(layer))
            .map(|layer| layer.name())
            .collect();
        if !missing.is_empty() {
            return Err(Failure::Wrong(format!(
                "not stopped by {}",
                missing.join(", ")
            )));
        }
        Ok(who.join(", "))
    }

    /// Where an attempt fails without a cage too, as this user may not, a filter that ends it shows
    /// that it was made and stopped all the same.
    fn test_by_filter(&self, name: &str, outside: End) -> Result<String, Failure> {
        let why = format!("without a cage: {outside}");
        let all = [Inside::Thread, Inside::Server, Inside::Seccomp];
        match all.iter().all(|inside| self.run(name, *inside).is_filter()) {
            true => Ok(format!("seccomp; {why}")),
            false => Err(Failure::Skipped(why)),
        }
    }

    fn run(&self, name: &str, inside: Inside) -> End {
        let folder = File::open("/usr/lib").unwrap();
        rustix::io::fcntl_setfd(&folder, rustix::io::FdFlags::empty()).unwrap();
        let mut command = Command::new(env::current_exe().unwrap());
        command
            .env(ATTEMPT, name)
            .env(INSIDE, inside.name())
            .env(PROGRAM, env::current_exe().unwrap())
            .env(Target::PORT, &self.port)
            .env(Target::FOLDER, &self.folder)
            .env(Target::ABSTRACT, &self.name)
            .env(Target::PID, std::process::id().to_string())
            .env(Target::OPEN_FOLDER, folder.as_raw_fd().to_string());
        let status = command.status().unwrap();
        let by_signal = status.signal().map(|signal| SIGNALS + signal);
        End(status.code().or(by_signal).unwrap_or(BROKEN))
    }
}

/// The layers that have to stop an attempt by themselves, at the least.
fn stoppers(name: &str) -> &'static [Inside] {
    use Inside::{Landlock, Privileges, Root, Seccomp};

    match name {
        "open-etc-passwd" | "write-outside" | "open-by-old-folder" => &[Root, Landlock],
        "connect-to-network" | "connect-to-abstract-socket" => &[Root, Landlock, Seccomp],
        "execute-a-shell" => &[Root, Landlock, Seccomp],
        "ptrace-the-parent" => &[Root, Privileges, Landlock, Seccomp],
        "signal-the-parent" => &[Root, Landlock],
        "raise-limits" | "change-groups" => &[Privileges, Seccomp],
        "mount" => &[Privileges, Landlock, Seccomp],
        // new-user-namespace, load-bpf, io-uring, map-writable-code.
        _ => &[Seccomp],
    }
}
