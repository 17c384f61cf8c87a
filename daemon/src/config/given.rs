//! Options as they are given, on the command line or in a file. One definition serves both, so
//! that a key of the file is the name of the flag.

use std::os::fd::RawFd;
use std::path::PathBuf;

use clap::Args;
use coherd_blob::MismatchPolicy;
use serde::Deserialize;

use super::quota::{self, Limit};
use super::value::{self, LogLevel, RendererKind, WindowSize};
use crate::cage::{Sandbox, SeccompMode};
use crate::device::display::Mode;
use crate::device::hang::HangAction;
use crate::sync::Allow;

/// What one source says. `None`, or an empty list, stands for nothing said.
#[derive(Clone, Debug, Default, Args, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the help of each option is its documentation")]
pub struct Given {
    /// Listen on this unix socket; a stale one is replaced
    #[arg(long, value_name = "PATH", conflicts_with = "fd")]
    pub socket_path: Option<PathBuf>,

    /// Serve on this inherited unix socket, listening or connected
    #[arg(long, value_name = "N")]
    pub fd: Option<RawFd>,

    /// Serve the next VMM on the same socket after one has hung up, until SIGTERM
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub persist: Option<bool>,
    /// Let other processes of this host use the guest's GPU memory through this socket, whose mode
    /// is 0660 less the umask; a stale one is replaced
    #[arg(long, value_name = "PATH", conflicts_with = "sync_fd")]
    pub sync_socket: Option<PathBuf>,

    /// Do so through this inherited SOCK_SEQPACKET socket, which listens
    #[arg(long, value_name = "N")]
    pub sync_fd: Option<RawFd>,

    /// Whom to let use it: uid=N or gid=N, with :ro behind it for those who may only read; once
    /// for each, and the first one that fits counts [default: the user coherd runs as, and root]
    #[arg(long, value_name = "uid=N|gid=N[:ro]")]
    #[serde(deserialize_with = "value::texts")]
    pub sync_allow: Option<Vec<Allow>>,

    /// Let the user coherd runs as, and root, have the device's state saved and read its metrics
    /// through this socket, as `coherd ctl save` and `coherd ctl metrics` do; a stale one is replaced
    #[arg(long, value_name = "PATH")]
    pub control_socket: Option<PathBuf>,

    /// What to render with [default: venus]
    #[arg(long, value_enum)]
    pub renderer: Option<RendererKind>,

    /// Use the GPU of this DRM render node [default: the first GPU, else software]
    #[arg(long, value_name = "PATH")]
    pub render_node: Option<PathBuf>,

    /// Plug in a display of this size in pixels, 400 to 8192 a side; once for each display
    /// [default: 1280x800]
    #[arg(long, value_name = "WIDTHxHEIGHT")]
    #[serde(deserialize_with = "value::texts")]
    pub display: Option<Vec<Mode>>,

    /// Give the device so many outputs, up to 16, for displays now or later
    /// [default: one for each display]
    #[arg(long, value_name = "N")]
    pub outputs: Option<usize>,

    /// Size of the guest's window on host memory, a power of two from 1M to 1T [default: 4G]
    #[arg(long, value_name = "SIZE")]
    #[serde(deserialize_with = "value::text")]
    pub window_size: Option<WindowSize>,

    /// Let the VM have no more than this
    #[arg(long, value_name = "NAME=VALUE", value_parser = quota::parse_vm, long_help = quota::help_vm())]
    #[serde(deserialize_with = "quota::table_vm")]
    pub quota: Vec<Limit>,

    /// Let each context, that is each program that uses the GPU, have no more than this
    #[arg(long, value_name = "NAME=VALUE", value_parser = quota::parse_context, long_help = quota::help_context())]
    #[serde(deserialize_with = "quota::table_context")]
    pub context_quota: Vec<Limit>,

    /// Offer memory slots: QEMU's stop and cont work with more than 5 mapped blobs, but a hard
    /// reset with mapped blobs crashes QEMU 11.1
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub mem_slots: Option<bool>,

    /// Log for the VMM which pages of the guest's memory coherd writes, so that the VMM can move the
    /// guest while it runs. Not for QEMU, which would leave the GPU's state behind
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub dirty_log: Option<bool>,

    /// What to do with GPU memory that the guest would not access as it is told: warn in the log,
    /// refuse to map it, or prefer-cached, that is allocate cached memory instead where possible,
    /// else refuse what is certainly wrong and warn of the rest [default: prefer-cached for memory
    /// of the blob context, warn for Venus]
    #[arg(long, value_name = "POLICY")]
    #[serde(deserialize_with = "value::text")]
    pub on_type_mismatch: Option<MismatchPolicy>,

    /// Call it a hang when the GPU has not done the next piece of a program's work for so many
    /// seconds; 0 for never [default: 30]
    #[arg(long, value_name = "SECONDS")]
    pub hang_timeout: Option<u32>,

    /// What to do about a context that hangs [default: log]
    #[arg(long, value_name = "ACTION", value_enum)]
    pub on_hang: Option<HangAction>,

    /// How the process is kept from the host's files, processes and network [default: namespace]
    #[arg(long, value_enum)]
    pub sandbox: Option<Sandbox>,

    /// What becomes of a thread that makes a system call which its policy does not have
    /// [default: kill]
    #[arg(long, value_enum)]
    pub seccomp: Option<SeccompMode>,

    /// Keep compiled shaders in this folder, which a guest's programs can write to [default:
    /// nowhere]
    #[arg(long, value_name = "PATH")]
    pub shader_cache: Option<PathBuf>,

    /// Least important messages to log on stderr [default: info]
    #[arg(long, value_name = "LEVEL", value_enum)]
    pub log_level: Option<LogLevel>,
}

impl Given {
    /// These options, and those of `file` that are not among them. Of a quota that both have, the
    /// one here comes later and counts.
    pub fn over(self, file: Self) -> Self {
        let has_socket = self.socket_path.is_some() || self.fd.is_some();
        let (socket_path, fd) = if has_socket {
            (self.socket_path, self.fd)
        } else {
            (file.socket_path, file.fd)
        };
        let has_sync = self.sync_socket.is_some() || self.sync_fd.is_some();
        let (sync_socket, sync_fd) = if has_sync {
            (self.sync_socket, self.sync_fd)
        } else {
            (file.sync_socket, file.sync_fd)
        };
        Self {
            socket_path,
            fd,
            persist: self.persist.or(file.persist),
            sync_socket,
            sync_fd,
            sync_allow: self.sync_allow.or(file.sync_allow),
            control_socket: self.control_socket.or(file.control_socket),
            renderer: self.renderer.or(file.renderer),
            render_node: self.render_node.or(file.render_node),
            display: self.display.or(file.display),
            outputs: self.outputs.or(file.outputs),
            window_size: self.window_size.or(file.window_size),
            quota: [file.quota, self.quota].concat(),
            context_quota: [file.context_quota, self.context_quota].concat(),
            mem_slots: self.mem_slots.or(file.mem_slots),
            dirty_log: self.dirty_log.or(file.dirty_log),
            on_type_mismatch: self.on_type_mismatch.or(file.on_type_mismatch),
            hang_timeout: self.hang_timeout.or(file.hang_timeout),
            on_hang: self.on_hang.or(file.on_hang),
            sandbox: self.sandbox.or(file.sandbox),
            seccomp: self.seccomp.or(file.seccomp),
            shader_cache: self.shader_cache.or(file.shader_cache),
            log_level: self.log_level.or(file.log_level),
        }
    }
}
