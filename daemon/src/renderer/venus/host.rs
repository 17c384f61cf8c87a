//! What of the host Venus renders with: a Vulkan device and the render server's program.

use std::path::{Path, PathBuf};
use std::process::Command;

use coherd_blob::MemoryProperties;
use coherd_vulkan::{Adapter, AdapterKind, EnumerateError, SelectError};
use thiserror::Error;
use tracing::{info, warn};

use super::Venus;
use super::hiding::{HiddenExtensions, HidingError};
use crate::renderer::render_node::{RenderNodeError, render_node as find_node};
use crate::renderer::{FenceSink, RendererError};

/// Where distributions put the render server.
const SERVER_PATHS: [&str; 4] = [
    "/usr/libexec/virgl_render_server",
    "/usr/local/libexec/virgl_render_server",
    "/usr/lib/virglrenderer/virgl_render_server",
    "/usr/lib/virgl_render_server",
];

/// Names the render server's program, as for virglrenderer itself.
const SERVER_VARIABLE: &str = "RENDER_SERVER_EXEC_PATH";

/// Why Venus cannot run on this host.
#[derive(Debug, Error)]
pub enum HostError {
    /// The host's devices could not be listed.
    #[error("cannot use Vulkan on this host")]
    Enumerate(#[from] EnumerateError),
    /// The render node is not one.
    #[error(transparent)]
    RenderNode(#[from] RenderNodeError),
    /// No device fits.
    #[error(transparent)]
    Select(#[from] SelectError),
    /// Guests would be offered what costs them their context.
    #[error(transparent)]
    Hiding(#[from] HidingError),
    /// The render server is missing.
    #[error(
        "no virgl_render_server: install virglrenderer's render server (Debian: virgl-server), \
         or name it with {SERVER_VARIABLE}"
    )]
    NoServer,
    /// The render server that the environment names is missing.
    #[error("no render server at {0}, which {SERVER_VARIABLE} names")]
    NoServerAt(PathBuf),
}

/// See the module's description.
#[derive(Debug)]
pub struct Host {
    adapter: Adapter,
    chosen: bool,
    memory_types: Vec<MemoryProperties>,
    hidden: Option<HiddenExtensions>,
    server: PathBuf,
}

impl Host {
    /// Looks for a device, that of `render_node` if given, and for the render server.
    ///
    /// # Errors
    /// See [`HostError`].
    pub fn find(render_node: Option<&Path>) -> Result<Self, HostError> {
        let server = server_program()?;
        let node = render_node.map(find_node).transpose()?;
        let adapters = coherd_vulkan::enumerate()?;
        let adapter = coherd_vulkan::select(&adapters, node)?.clone();
        match adapter.kind {
            AdapterKind::Hardware => info!(device = %adapter, "rendering with"),
            AdapterKind::Software => warn!(device = %adapter, "no GPU: rendering with the CPU"),
        }
        // A guest sees every device of the host unless one was chosen.
        let chosen = node.is_some();
        let seen: &[Adapter] = if chosen {
            std::slice::from_ref(&adapter)
        } else {
            &adapters
        };
        let exports_dma_buf = seen.iter().all(|adapter| adapter.exports_dma_buf);
        let memory_types = seen.iter().flat_map(|adapter| &adapter.memory_types);
        let memory_types = memory_types.copied().collect();
        let hidden = if exports_dma_buf {
            None
        } else {
            info!("the host cannot export dma-bufs: guests are not offered to share memory");
            Some(HiddenExtensions::prepare()?)
        };
        Ok(Self {
            adapter,
            chosen,
            memory_types,
            hidden,
            server,
        })
    }

    /// Starts the renderer, in the thread it stays in.
    ///
    /// # Errors
    /// See [`RendererError`].
    pub fn start(self, fences: FenceSink) -> Result<Venus, RendererError> {
        Venus::start(self, fences)
    }

    /// The memory types of every device that a guest sees.
    pub fn memory_types(&self) -> &[MemoryProperties] {
        &self.memory_types
    }

    /// The render server's program.
    pub fn server(&self) -> &Path {
        &self.server
    }

    /// Sets the render server's environment: it shows its contexts the chosen device alone, by
    /// the selection layer that Mesa installs with its drivers, and hides what cannot be done.
    pub fn apply(&self, server: &mut Command) {
        if self.chosen {
            let id = format!(
                "{:04x}:{:04x}!",
                self.adapter.vendor_id, self.adapter.device_id
            );
            server.env("MESA_VK_DEVICE_SELECT", id);
        }
        if let Some(hidden) = &self.hidden {
            hidden.apply(server);
        }
    }
}

/// Looks for the render server's program.
///
/// # Errors
/// [`HostError::NoServer`] or [`HostError::NoServerAt`]
pub fn server_program() -> Result<PathBuf, HostError> {
    if let Some(path) = std::env::var_os(SERVER_VARIABLE).map(PathBuf::from) {
        return if path.is_file() {
            Ok(path)
        } else {
            Err(HostError::NoServerAt(path))
        };
    }
    SERVER_PATHS
        .into_iter()
        .map(PathBuf::from)
        .find(|path| path.is_file())
        .ok_or(HostError::NoServer)
}
