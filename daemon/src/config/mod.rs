//! What coherd runs with: options of the command line over those of the configuration file, over
//! the defaults.

mod file;
mod given;
mod quota;
mod value;

use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

pub use self::given::Given;
pub use self::value::{LogLevel, RendererKind};
use crate::cage::{Sandbox, SeccompMode};
use crate::device::display::{DisplayError, Mode, Outputs};
use crate::device::hang::HangPolicy;
use crate::device::quota::{QuotaError, Quotas, Scope};
use crate::mapping_type::Policies;
use crate::serve::Options;
use crate::sync::AllowList;

/// Why options are not usable.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not TOML, or has a key or a value that is not an option.
    #[error("{path}, line {line}: {message}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What is wrong and what is allowed.
        message: String,
    },
    /// Both are given in one place.
    #[error("socket-path and fd are both given: choose one")]
    TwoSockets,
    /// Both are given in one place.
    #[error("sync-socket and sync-fd are both given: choose one")]
    TwoSyncSockets,
    /// Nobody can connect who would have to be let in.
    #[error("sync-allow has no effect without sync-socket or sync-fd: add one of them")]
    NoSyncSocket,
    /// The displays are impossible.
    #[error("displays are not possible; --outputs says how many there can be")]
    Displays(#[from] DisplayError),
    /// A quota is impossible.
    #[error("quota is not possible")]
    Quota(#[from] QuotaError),
}

/// Where the front-end, or a peer of the sync protocol, comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SocketSource {
    /// It connects to this path.
    Path(PathBuf),
    /// It connects to this inherited fd. A front-end may also be at its other end.
    Fd(RawFd),
}

/// Every option with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where the front-end comes from, if that is said.
    pub socket: Option<SocketSource>,
    /// Serve one VMM after the other.
    pub persist: bool,
    /// Where peers of the sync protocol come from, if any may come.
    pub sync: Option<SocketSource>,
    /// Which of them are let in.
    pub sync_allow: AllowList,
    /// Where the device's state can be had saved, if it can.
    pub control_socket: Option<PathBuf>,
    /// What to render with.
    pub renderer: RendererKind,
    /// The GPU, if a certain one is wanted.
    pub render_node: Option<PathBuf>,
    /// Bytes of the window.
    pub window_size: u64,
    /// Offer memory slots.
    pub mem_slots: bool,
    /// Offer the log of written pages.
    pub dirty_log: bool,
    /// What to do where memory types do not agree.
    pub type_mismatch: Policies,
    /// What is done about work that the GPU does not get done.
    pub hangs: HangPolicy,
    /// How the host is hidden from the process.
    pub sandbox: Sandbox,
    /// What policies of system calls do.
    pub seccomp: SeccompMode,
    /// The folder for compiled shaders, if they are kept.
    pub shader_cache: Option<PathBuf>,
    /// Least important messages to log.
    pub log_level: LogLevel,
    /// Displays on the first outputs.
    pub displays: Vec<Mode>,
    /// Number of outputs, if that is said.
    pub outputs: Option<usize>,
    /// How much of everything the guest may have.
    pub quotas: Quotas,
}

impl Settings {
    /// Reads `file`, if one is given, and puts `flags` over it.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn load(flags: &Given, file: Option<&Path>) -> Result<Self, ConfigError> {
        let file = file.map(file::read).transpose()?.unwrap_or_default();
        if file.socket_path.is_some() && file.fd.is_some() {
            return Err(ConfigError::TwoSockets);
        }
        if file.sync_socket.is_some() && file.sync_fd.is_some() {
            return Err(ConfigError::TwoSyncSockets);
        }
        Self::resolve(flags.clone().over(file))
    }

    /// Outputs, and the displays on them. There are as many as displays, and at least one, where
    /// no number is said.
    ///
    /// # Errors
    /// [`DisplayError`]
    pub fn device_outputs(&self) -> Result<Outputs, DisplayError> {
        let count = self.outputs.unwrap_or(self.displays.len().max(1));
        Outputs::new(count, &self.displays)
    }

    fn resolve(given: Given) -> Result<Self, ConfigError> {
        let default = Options::default();
        let mut quotas = default.quotas;
        for limit in given.quota {
            quotas.set(Scope::Vm, limit.quota, limit.value)?;
        }
        for limit in given.context_quota {
            quotas.set(Scope::Context, limit.quota, limit.value)?;
        }
        let sync = given
            .sync_socket
            .map(SocketSource::Path)
            .or(given.sync_fd.map(SocketSource::Fd));
        if sync.is_none() && given.sync_allow.is_some() {
            return Err(ConfigError::NoSyncSocket);
        }
        let settings = Self {
            sync,
            sync_allow: given
                .sync_allow
                .map_or_else(AllowList::default, AllowList::new),
            control_socket: given.control_socket,
            socket: given
                .socket_path
                .map(SocketSource::Path)
                .or(given.fd.map(SocketSource::Fd)),
            persist: given.persist.unwrap_or(false),
            renderer: given.renderer.unwrap_or(RendererKind::Venus),
            render_node: given.render_node,
            window_size: given.window_size.map_or(default.window_size, |size| size.0),
            mem_slots: given.mem_slots.unwrap_or(default.memory_slots),
            dirty_log: given.dirty_log.unwrap_or(default.dirty_log),
            type_mismatch: given
                .on_type_mismatch
                .map_or_else(Policies::default, Policies::all),
            hangs: HangPolicy {
                timeout: match given.hang_timeout {
                    None => default.hangs.timeout,
                    Some(0) => None,
                    Some(seconds) => Some(Duration::from_secs(seconds.into())),
                },
                action: given.on_hang.unwrap_or_default(),
            },
            sandbox: given.sandbox.unwrap_or(Sandbox::Namespace),
            seccomp: given.seccomp.unwrap_or(SeccompMode::Kill),
            shader_cache: given.shader_cache,
            log_level: given.log_level.unwrap_or(LogLevel::Info),
            displays: given.display.unwrap_or_else(|| vec![Mode::DEFAULT]),
            outputs: given.outputs,
            quotas,
        };
        settings.device_outputs()?;
        Ok(settings)
    }
}

#[cfg(test)]
mod tests;
