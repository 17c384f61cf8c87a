//! The Vulkan layer of `tests/layer`, whose memory need not be coherent, as programs in the lab
//! find it.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::coherd;
use crate::lab::{Lab, LabError, TARGET};

/// What the loader calls it.
pub const NAME: &str = "VK_LAYER_COHERD_incoherent";

const LIBRARY: &str = "libVkLayer_coherd_incoherent.so";

/// Below the folder of the library.
const FOLDER: &str = "layers";

/// For whom cargo built it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Test programs, beside which it is.
    Tests,
    /// Whole systems.
    Systems,
}

impl Profile {
    /// Where the library is, inside the lab.
    fn folder(self) -> PathBuf {
        Path::new(TARGET).join(match self {
            Self::Tests => "debug/deps",
            Self::Systems => coherd::PROFILE,
        })
    }
}

/// The folder inside the lab in which the loader finds the layer, for `VK_ADD_LAYER_PATH`.
#[must_use]
pub fn folder(profile: Profile) -> PathBuf {
    profile.folder().join(FOLDER)
}

/// Writes the layer's manifest, "Layer Manifest File Format" of the loader-layer interface. The
/// library may be built later.
///
/// # Errors
/// [`LabError::Io`]
pub fn install(lab: &Lab, profile: Profile) -> Result<(), LabError> {
    let library = profile.folder().join(LIBRARY);
    let manifest = json!({
        "file_format_version": "1.2.0",
        "layer": {
            "name": NAME,
            "type": "INSTANCE",
            "library_path": library,
            "api_version": "1.4.0",
            "implementation_version": "1",
            "description": "Incoherent memory types and faults for tests",
        },
    });
    let folder = lab.on_host(&folder(profile));
    let path = folder.join("VkLayer_coherd_incoherent.json");
    fs::create_dir_all(&folder)
        .and_then(|()| fs::write(&path, manifest.to_string()))
        .map_err(LabError::io(format!("write {}", path.display())))
}
