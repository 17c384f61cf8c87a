//! The record of a blob.

use coherd_blob::{Backing, MapInfo};

use crate::mapping_type::MappingType;

/// A blob of the host that has a file. The device, the renderers that use the blob and whoever
/// serves other processes have the same record.
#[derive(Debug)]
pub struct BlobRecord {
    backing: Backing,
    types: Option<MappingType>,
}

impl BlobRecord {
    /// The record of a new blob, which the guest may map as `types` has it, or not at all.
    pub fn new(backing: Backing, types: Option<MappingType>) -> Self {
        Self { backing, types }
    }

    /// The file.
    pub fn backing(&self) -> &Backing {
        &self.backing
    }

    /// How the guest is told to map it; `None` if it must not.
    pub fn told(&self) -> Option<MapInfo> {
        self.types.map(|types| types.told)
    }

    /// The types of its mappings; `None` if the guest must not map it.
    pub fn types(&self) -> Option<MappingType> {
        self.types
    }
}
