//! A folder in which a user who is not root can start coherd.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;

use super::{CoherdError, failed, program};
use crate::lab::Lab;

/// `nobody`, of whom the host has no files.
const USER: u32 = 65534;

/// What has `setpriv` become that user.
pub const OPTIONS: [&str; 3] = ["--reuid=65534", "--regid=65534", "--clear-groups"];

/// coherd, and the layer that it looks for beside itself.
const FILES: [&str; 2] = ["coherd", "libVkLayer_coherd.so"];

/// Makes the folder. The programs are copied there: where they are built, only root may be let in.
pub fn prepare(lab: &Lab) -> Result<PathBuf, CoherdError> {
    let folder = lab.run_dir().join("ordinary");
    fs::create_dir_all(&folder)
        .and_then(|()| chown(&folder, Some(USER), Some(USER)))
        .and_then(|()| fs::set_permissions(lab.run_dir(), Permissions::from_mode(0o711)))
        .map_err(failed("make a folder for an ordinary user"))?;
    let copied = lab
        .command("cp")
        .args(FILES.map(program))
        .arg(&folder)
        .status()
        .map_err(failed("start cp in the lab"))?;
    match copied.success() {
        true => Ok(folder),
        false => Err(CoherdError::Build("copying coherd")),
    }
}
