//! The cage: what keeps a GPU process that a guest took over from the rest of the host.
//!
//! coherd builds it itself, because VMMs and libvirt start it directly. The layers are
//! independent of each other: namespaces and a root of its own (`namespace`, `root`), no
//! capabilities and limits (`limits`), Landlock ([`landlock`]) and a list of system calls for
//! each kind of thread ([`seccomp`]). [`plan`] says what the Vulkan driver needs. Outside stays
//! the `keeper`, the process that the user started.
//!
//! A process enters once, before it has threads; see `docs/cage.md`.
#![allow(unsafe_code, reason = "fork, unshare and mount_setattr")]

mod door;
pub mod error;
mod keeper;
pub mod landlock;
mod launcher;
mod limits;
mod message;
mod namespace;
pub mod plan;
mod root;
pub mod seccomp;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::ValueEnum;
use serde::Deserialize;
use tracing::{debug, warn};

pub use self::door::{Door, door};
pub use self::error::CageError;
pub use self::launcher::{Launcher, give_socket, launcher};
use self::plan::{Plan, Purpose};
use self::seccomp::Policy;
pub use self::seccomp::Thread;
use crate::config::{RendererKind, Settings};
use crate::socket_file::SocketFile;

/// How the process is kept from the host's files, processes and network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sandbox {
    /// In namespaces, with a root that holds what the Vulkan driver needs
    Namespace,
    /// With such a root alone, for root on machines that allow no user namespaces
    Chroot,
    /// Not at all
    None,
}

/// What becomes of a thread that makes a system call which its policy does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SeccompMode {
    /// coherd is killed with SIGSYS
    Kill,
    /// The thread gets SIGSYS, for debuggers
    Trap,
    /// The kernel logs the call and carries it out
    Log,
    /// Nothing: there are no policies
    None,
}

/// What the keeper does outside for the process in the cage.
#[derive(Clone, Debug, Default)]
pub struct Outside {
    /// Socket files to remove at the end.
    pub sockets: Vec<Arc<SocketFile>>,
    /// The configuration file that may be read again.
    pub config: Option<PathBuf>,
}

/// A cage to enter.
#[derive(Clone, Debug)]
pub struct Cage {
    /// How the host is hidden.
    pub sandbox: Sandbox,
    /// What system-call policies do.
    pub seccomp: SeccompMode,
    /// Whether to use Landlock as far as the kernel has it.
    pub landlock: bool,
    /// What of the host is seen.
    pub plan: Plan,
}

impl Cage {
    /// The one for a daemon with these settings.
    pub fn of(settings: &Settings) -> Self {
        let purpose = Purpose {
            vulkan: settings.renderer != RendererKind::TwoD,
            render_node: settings.render_node.clone(),
            shader_cache: settings.shader_cache.clone(),
            ..of_renderer(settings.renderer)
        };
        let gpus = plan::gpus(Path::new("/"));
        Self {
            sandbox: settings.sandbox,
            seccomp: settings.seccomp,
            landlock: settings.sandbox != Sandbox::None,
            plan: Plan::new(purpose, &gpus, |name| std::env::var_os(name)),
        }
    }

    /// Enters. Where the process changes, this returns in the one that is inside; the one that
    /// was started stays outside as its keeper and ends with its status.
    ///
    /// # Errors
    /// See [`CageError`]; nothing has been confined then, and the process should end.
    pub fn enter(&self, outside: Outside) -> Result<(), CageError> {
        namespace::require_single_thread()?;
        if self.sandbox != Sandbox::None {
            let door = namespace::enter(self.sandbox, outside, self.seccomp)?;
            door::open(door);
            root::enter(&self.plan, self.sandbox)?;
        }
        self.set_environment();
        limits::apply(self.sandbox)?;
        if self.landlock {
            match landlock::restrict(&self.plan)? {
                Some(abi) => debug!(abi, "Landlock is on"),
                None => warn!("this kernel has no Landlock: the cage has one layer less"),
            }
        }
        seccomp::set_mode(self.seccomp, self.plan.jit);
        if self.plan.server.is_some() {
            launcher::start()?;
        }
        seccomp::install(Policy::Process)?;
        debug!(sandbox = ?self.sandbox, seccomp = ?self.seccomp, "in the cage");
        Ok(())
    }

    /// Mesa keeps compiled shaders in the user's home unless it is told otherwise.
    fn set_environment(&self) {
        let cache = self.plan.shader_cache();
        let set = |name: &str, value: &OsStr| {
            // SAFETY: this process has one thread.
            unsafe { std::env::set_var(name, value) }
        };
        match cache {
            Some(folder) => set("MESA_SHADER_CACHE_DIR", folder.as_os_str()),
            None => set("MESA_SHADER_CACHE_DISABLE", OsStr::new("true")),
        }
        if self.sandbox != Sandbox::None {
            set("TMPDIR", OsStr::new("/tmp"));
        }
    }
}

#[cfg(feature = "venus")]
fn of_renderer(renderer: RendererKind) -> Purpose {
    use crate::renderer::venus;

    match renderer {
        RendererKind::Venus => Purpose {
            server: venus::server_program().ok(),
            layer: venus::layer_beside_program(),
            ..Purpose::default()
        },
        RendererKind::Blob | RendererKind::TwoD => Purpose::default(),
    }
}

#[cfg(not(feature = "venus"))]
fn of_renderer(_: RendererKind) -> Purpose {
    Purpose::default()
}

/// Confines the calling thread to what threads of its kind do; it cannot be undone. Does nothing
/// in a process that is in no cage.
///
/// # Errors
/// [`CageError::Seccomp`]
pub fn confine(thread: Thread) -> Result<(), CageError> {
    seccomp::install(Policy::Thread(thread))
}
