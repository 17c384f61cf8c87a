//! What renderers export, checked before anybody maps it.

use std::sync::Arc;

use coherd_blob::Backing;

use super::Device;
use super::resource::HostBlob;
use crate::coherence::BlobRecord;
use crate::mapping_type::{MappingType, Outcome, Source};
use crate::renderer::Export;

impl Device {
    /// What others may map of the export of `blob`, resource `id`, or `None`: the blob is still
    /// good for the GPU.
    pub(super) fn check_export(
        &mut self,
        blob: &HostBlob,
        id: u32,
        export: Export,
    ) -> Option<Arc<BlobRecord>> {
        let file = match export {
            Export::Record(record) => return Some(record),
            Export::File(file) => file,
        };
        match Backing::new(file.fd, file.kind, blob.size) {
            Ok(backing) => {
                let types = blob
                    .mappable
                    .then(|| self.judge_guess(id, &backing, file.map_info))
                    .flatten();
                Some(Arc::new(BlobRecord::new(backing, types, None)))
            }
            Err(error) => {
                self.report(&format_args!("resource {id} cannot be mapped: {error}"));
                None
            }
        }
    }

    fn judge_guess(&mut self, id: u32, backing: &Backing, map_info: u32) -> Option<MappingType> {
        let source = Source::Guessed {
            map_info,
            driver: self.renderer.memory_types(),
        };
        let resource = format_args!("resource {id}");
        let types = &self.config.mapping_types;
        match types.decide_mapping(&resource, backing.exporter(), source) {
            Outcome::Map(types) => Some(types),
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
