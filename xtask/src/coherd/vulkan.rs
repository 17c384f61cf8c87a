//! The Vulkan that coherd finds in the lab: lavapipe, as it is or with something beside it.

use std::path::{Path, PathBuf};

use super::{CoherdError, PROFILE, failed};
use crate::lab::{Lab, TARGET};
use crate::test_layer::{self, Profile};

/// What the Vulkan driver can do that coherd and its render server find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vulkan {
    /// What the host's does.
    Host,
    /// It exports memory: there is a stand-in for /dev/udmabuf, without which lavapipe does not.
    Exporting,
    /// It has memory that is not coherent, too: the layer of `tests/layer` is above it.
    Incoherent,
}

impl Vulkan {
    /// What brings it about.
    pub(super) fn environment(self) -> Vec<(&'static str, PathBuf)> {
        match self {
            Self::Host => Vec::new(),
            Self::Exporting => vec![("LD_PRELOAD", standin())],
            Self::Incoherent => vec![
                ("VK_ADD_LAYER_PATH", test_layer::folder(Profile::Systems)),
                ("VK_INSTANCE_LAYERS", test_layer::NAME.into()),
                // Its library is in another folder than its manifest, which coherd's cage has to be told.
                ("LD_LIBRARY_PATH", Path::new(TARGET).join(PROFILE)),
            ],
        }
    }
}

/// Path of the udmabuf stand-in inside the lab.
fn standin() -> PathBuf {
    Path::new(TARGET).join("udmabuf-standin.so")
}

/// Makes what cargo does not build.
pub(super) fn build(lab: &Lab) -> Result<(), CoherdError> {
    test_layer::install(lab, Profile::Systems)?;
    let built = lab
        .command("gcc")
        .args([
            "-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", "-o",
        ])
        .arg(standin())
        .arg("tests/standin/udmabuf.c")
        .status()
        .map_err(failed("start gcc in the lab"))?;
    if built.success() {
        Ok(())
    } else {
        Err(CoherdError::Build("gcc"))
    }
}
