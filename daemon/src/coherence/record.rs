//! The record of a blob.

use coherd_blob::{Backing, MapInfo};

/// A blob of the host that has a file. The device, the renderers that use the blob and whoever
/// serves other processes have the same record.
#[derive(Debug)]
pub struct BlobRecord {
    backing: Backing,
    told: Option<MapInfo>,
}

impl BlobRecord {
    /// The record of a new blob. The guest is told to map it as `told`, or may not map it.
    pub fn new(backing: Backing, told: Option<MapInfo>) -> Self {
        Self { backing, told }
    }

    /// The file.
    pub fn backing(&self) -> &Backing {
        &self.backing
    }

    /// How the guest is told to map it; `None` if it must not.
    pub fn told(&self) -> Option<MapInfo> {
        self.told
    }
}
