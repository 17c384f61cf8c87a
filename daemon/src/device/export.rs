//! What renderers export, checked before a guest may map it.

use coherd_blob::Backing;

use super::Device;
use crate::mapping_type::{MappingType, Outcome, Source};
use crate::renderer::Export;

impl Device {
    /// What the guest may map of an export, and how, or `None`: the blob is still good for the
    /// GPU.
    pub(super) fn check_export(
        &mut self,
        id: u32,
        export: Export,
        size: u64,
    ) -> Option<(Backing, MappingType)> {
        let backing = match Backing::new(export.fd, export.kind, size) {
            Ok(backing) => backing,
            Err(error) => {
                self.report(&format_args!("resource {id} cannot be mapped: {error}"));
                return None;
            }
        };
        let source = Source::Guessed {
            map_info: export.map_info,
            driver: self.renderer.memory_types(),
        };
        let resource = format_args!("resource {id}");
        let types = &self.config.mapping_types;
        match types.decide_mapping(&resource, backing.exporter(), source) {
            Outcome::Map(types) => Some((backing, types)),
            // It is counted and logged.
            Outcome::Refuse(_) => None,
            Outcome::NotMappable | Outcome::AllocateInstead(_) => {
                self.report(&format_args!(
                    "resource {id} has no memory type and cannot be mapped"
                ));
                None
            }
        }
    }
}
