//! What a guest would try that has taken over a thread of the daemon or a worker. Each returns
//! how it failed; outside of the cage, for root, none does.

use std::fs::{self, File};
use std::io;
use std::net::TcpStream;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::PathBuf;
use std::process::Command;

/// What the process that starts attempts holds ready for them, in the environment.
pub struct Target;

impl Target {
    pub const PORT: &str = "COHERD_ESCAPE_PORT";
    pub const PID: &str = "COHERD_ESCAPE_PID";
    pub const FOLDER: &str = "COHERD_ESCAPE_FOLDER";
    pub const ABSTRACT: &str = "COHERD_ESCAPE_ABSTRACT";
    /// The number of an open folder, which the process had before it entered.
    pub const OPEN_FOLDER: &str = "COHERD_ESCAPE_OPEN_FOLDER";

    fn text(name: &str) -> String {
        std::env::var(name).unwrap()
    }

    fn number(name: &str) -> i32 {
        Self::text(name).parse().unwrap()
    }

    fn folder() -> PathBuf {
        Self::text(Self::FOLDER).into()
    }
}

pub type Attempt = fn() -> io::Result<()>;

/// Every attempt with its name.
pub const ALL: [(&str, Attempt); 15] = [
    ("open-etc-passwd", || File::open("/etc/passwd").map(drop)),
    ("open-by-old-folder", open_by_old_folder),
    ("connect-to-network", connect_to_network),
    ("connect-to-abstract-socket", connect_to_abstract_socket),
    ("execute-a-shell", execute_a_shell),
    ("ptrace-the-parent", ptrace_the_parent),
    ("signal-the-parent", signal_the_parent),
    ("write-outside", || {
        fs::write(Target::folder().join("escaped"), "")
    }),
    ("raise-limits", raise_limits),
    ("mount", mount),
    ("new-user-namespace", || {
        call(unsafe { libc::unshare(libc::CLONE_NEWUSER) })
    }),
    ("load-bpf", load_bpf),
    ("io-uring", io_uring),
    ("map-writable-code", map_writable_code),
    ("change-groups", || {
        call(unsafe { libc::setgroups(0, std::ptr::null()) })
    }),
];

fn call(result: i32) -> io::Result<()> {
    match result {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

fn system_call(result: i64) -> io::Result<()> {
    match result {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

fn open_by_old_folder() -> io::Result<()> {
    let folder = Target::number(Target::OPEN_FOLDER);
    let path = c"../../../../../../etc/passwd";
    call(unsafe { libc::openat(folder, path.as_ptr(), libc::O_RDONLY) })
}

fn connect_to_network() -> io::Result<()> {
    let port = u16::try_from(Target::number(Target::PORT)).unwrap();
    TcpStream::connect(("127.0.0.1", port)).map(drop)
}

fn connect_to_abstract_socket() -> io::Result<()> {
    let name = Target::text(Target::ABSTRACT);
    UnixStream::connect_addr(&SocketAddr::from_abstract_name(name)?).map(drop)
}

fn execute_a_shell() -> io::Result<()> {
    let status = Command::new("/bin/sh").args(["-c", "exit 0"]).status()?;
    match status.success() {
        true => Ok(()),
        false => Err(io::Error::from_raw_os_error(libc::ECHILD)),
    }
}

fn ptrace_the_parent() -> io::Result<()> {
    let pid = Target::number(Target::PID);
    let nothing = std::ptr::null_mut::<libc::c_void>();
    system_call(unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid, nothing, nothing) })
}

fn signal_the_parent() -> io::Result<()> {
    call(unsafe { libc::kill(Target::number(Target::PID), 0) })
}

fn raise_limits() -> io::Result<()> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    call(unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) })?;
    let more = match limit.rlim_max {
        libc::RLIM_INFINITY => {
            // Even what is unlimited can be a limit that is raised.
            limit.rlim_max = 0;
            call(unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit) })?;
            4096
        }
        maximum => maximum + 4096,
    };
    limit.rlim_max = more;
    call(unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit) })
}

fn mount() -> io::Result<()> {
    // A folder that there is inside and outside.
    let (kind, at) = (c"tmpfs".as_ptr(), c"/tmp".as_ptr());
    call(unsafe { libc::unshare(libc::CLONE_NEWNS) })?;
    let private = libc::MS_PRIVATE | libc::MS_REC;
    let nothing = std::ptr::null();
    call(unsafe { libc::mount(kind, c"/".as_ptr(), kind, private, nothing) })?;
    call(unsafe { libc::mount(kind, at, kind, 0, nothing) })
}

fn load_bpf() -> io::Result<()> {
    /// The part of `union bpf_attr` that BPF_MAP_CREATE reads.
    #[repr(C)]
    struct MapCreate {
        map_type: u32,
        key_size: u32,
        value_size: u32,
        max_entries: u32,
    }
    const MAP_CREATE: i32 = 0;
    let array = MapCreate {
        map_type: 2,
        key_size: 4,
        value_size: 4,
        max_entries: 1,
    };
    let size = size_of_val(&array);
    system_call(unsafe { libc::syscall(libc::SYS_bpf, MAP_CREATE, &raw const array, size) })
}

fn io_uring() -> io::Result<()> {
    let mut parameters = [0_u32; 30];
    let entries = 1;
    system_call(unsafe {
        libc::syscall(libc::SYS_io_uring_setup, entries, parameters.as_mut_ptr())
    })
}

fn map_writable_code() -> io::Result<()> {
    let memory = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            4096,
            libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if memory == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
