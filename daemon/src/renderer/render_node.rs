//! The GPU that the user names.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use coherd_vulkan::RenderNode;
use thiserror::Error;

/// Why a path names no GPU.
#[derive(Debug, Error)]
#[error("{path} is not a DRM render node")]
pub struct RenderNodeError {
    path: PathBuf,
    /// Why it could not be looked at; `None` if it is something else.
    source: Option<io::Error>,
}

/// The render node at `path`.
///
/// # Errors
/// See [`RenderNodeError`].
pub fn render_node(path: &Path) -> Result<RenderNode, RenderNodeError> {
    let failed = |source| RenderNodeError {
        path: path.into(),
        source,
    };
    let metadata = std::fs::metadata(path).map_err(|error| failed(Some(error)))?;
    if !metadata.file_type().is_char_device() {
        return Err(failed(None));
    }
    let number = metadata.rdev();
    Ok(RenderNode {
        major: rustix::fs::major(number),
        minor: rustix::fs::minor(number),
    })
}
