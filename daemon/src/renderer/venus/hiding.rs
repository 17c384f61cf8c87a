//! Hides Vulkan extensions of the host from the guest.
//!
//! A driver may advertise VK_EXT_external_memory_dma_buf for import alone. A guest's driver then
//! makes every exportable allocation a dma-buf, and the failure costs it the context. The
//! extension mask of the Venus capset does not help, since Mesa consults it for chained structures
//! only, and the guest reads the list of extensions from the render server over shared memory. So
//! the render server runs with a Vulkan layer that leaves them out.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use thiserror::Error;

/// What must not be seen on a host that cannot export dma-bufs.
const EXTENSIONS: &str = "VK_EXT_external_memory_dma_buf,VK_EXT_image_drm_format_modifier";

const LAYER: &str = "VK_LAYER_COHERD_hide_extensions";
const LIBRARY: &str = "libVkLayer_coherd.so";

/// Where packages, and the cage, put the library; beside the program comes first.
const FOLDERS: [&str; 3] = [
    "/usr/lib/coherd",
    "/usr/libexec/coherd",
    "/usr/local/lib/coherd",
];

/// Why nothing can be hidden.
#[derive(Debug, Error)]
pub enum HidingError {
    /// The layer is not installed.
    #[error(
        "this host cannot export dma-bufs, and {LIBRARY}, which keeps guests from trying, is \
         neither beside coherd nor in /usr/lib/coherd: install it, or load the udmabuf module"
    )]
    NoLayer,
    /// The layer's manifest could not be written.
    #[error("cannot write the manifest of the Vulkan layer to the temporary folder")]
    Manifest(#[from] io::Error),
}

/// A layer that is ready to be loaded by a child; its manifest goes when this is dropped.
#[derive(Debug)]
pub struct HiddenExtensions {
    folder: TempDir,
}

impl HiddenExtensions {
    /// Finds the layer.
    ///
    /// # Errors
    /// See [`HidingError`].
    pub fn prepare() -> Result<Self, HidingError> {
        let library = find().ok_or(HidingError::NoLayer)?;
        let folder = tempfile::Builder::new().prefix("coherd-").tempdir()?;
        std::fs::write(manifest_in(&folder), manifest(&library))?;
        Ok(Self { folder })
    }

    /// Makes `child` load the layer. The loader ignores what it cannot use without an error, so
    /// every variable that could keep it from the layer is dealt with.
    pub fn apply(&self, child: &mut Command) {
        let manifest = manifest_in(&self.folder);
        // VK_ADD_LAYER_PATH is ignored where VK_LAYER_PATH is set.
        let path = match std::env::var_os("VK_LAYER_PATH") {
            Some(_) => "VK_LAYER_PATH",
            None => "VK_ADD_LAYER_PATH",
        };
        child.env(path, extended(path, manifest.as_os_str().to_owned(), ":"));
        // The older of two mechanisms, and the one that wins over VK_LOADER_LAYERS_DISABLE.
        for (variable, separator) in [
            ("VK_INSTANCE_LAYERS", ":"),
            ("VK_LOADER_LAYERS_ENABLE", ","),
        ] {
            child.env(variable, extended(variable, LAYER.into(), separator));
        }
        child.env("COHERD_HIDE_EXTENSIONS", EXTENSIONS);
    }
}

/// `variable` of this process with `value` appended.
fn extended(variable: &str, value: OsString, separator: &str) -> OsString {
    match std::env::var_os(variable) {
        Some(mut inherited) if !inherited.is_empty() => {
            inherited.push(separator);
            inherited.push(value);
            inherited
        }
        _ => value,
    }
}

fn find() -> Option<PathBuf> {
    let installed = FOLDERS.map(|folder| Path::new(folder).join(LIBRARY));
    let installed = installed.into_iter().find(|library| library.is_file());
    layer_beside_program().or(installed)
}

/// The layer beside the program, if it is there.
pub fn layer_beside_program() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    let library = program.parent()?.join(LIBRARY);
    library.is_file().then_some(library)
}

fn manifest_in(folder: &TempDir) -> PathBuf {
    folder.path().join("VkLayer_coherd.json")
}

/// A layer manifest, "Layer Manifest File Format" of the loader-layer interface.
fn manifest(library: &Path) -> String {
    let library = library
        .display()
        .to_string()
        .replace('\\', "\\\\")
        .replace('"', "\\\"");
    format!(
        r#"{{
    "file_format_version": "1.2.0",
    "layer": {{
        "name": "{LAYER}",
        "type": "INSTANCE",
        "library_path": "{library}",
        "api_version": "1.4.0",
        "implementation_version": "1",
        "description": "Hides the device extensions named in COHERD_HIDE_EXTENSIONS"
    }}
}}
"#
    )
}
