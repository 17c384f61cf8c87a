//! What all contexts share: the GPU, and the rules of sharing its memory.

use std::sync::Arc;

use coherd_blob::{Backing, MemoryProperties};
use coherd_protocol::blob_context::capset::TypeFlags;
use coherd_protocol::blob_context::{Capset, Status};
use tracing::debug;

use super::blob::{Blob, BlobMemory};
use super::gpu::{Gpu, Memory};
use crate::coherence::{BlobRecord, DeviceMemory, ImageInfo};
use crate::mapping_type::{MappingTypes, Outcome, Source};

/// Memory, and the image in it if there is one.
pub type Made<G> = (<G as Gpu>::Memory, Option<ImageInfo>);

/// What memory is wanted for.
#[derive(Clone, Copy, Debug)]
pub struct Want {
    /// Properties it has to have.
    pub required: MemoryProperties,
    /// The bits of what the GPU does with it.
    pub usage: u32,
}

/// See the module's description.
pub struct Host<G: Gpu> {
    /// The GPU.
    pub gpu: Arc<G>,
    /// What a guest is told.
    pub capset: Capset,
    /// Decides what a guest may map, and how.
    pub types: Arc<MappingTypes>,
}

/// What became of memory that was to be shared.
enum Shared<G: Gpu> {
    /// This.
    As(Blob<G>),
    /// Cached memory is wanted in its place.
    Instead,
}

impl<G: Gpu> Host<G> {
    /// Longest side of an image.
    pub fn max_image_dimension(&self) -> u32 {
        self.capset.head.max_image_dimension.get()
    }

    /// A size in whole pages.
    pub fn whole_pages(&self, size: u64) -> Option<u64> {
        size.checked_next_multiple_of(self.capset.head.page_size.get())
    }

    /// Makes memory and shares it. `make` is called with the properties it has to have, which are
    /// those that are required, or more if the host's policy prefers that.
    ///
    /// # Errors
    /// The status for the guest.
    pub fn share(
        &self,
        Want { required, usage }: Want,
        make: impl Fn(MemoryProperties) -> Result<Made<G>, Status>,
    ) -> Result<Blob<G>, Status> {
        let cached = required | MemoryProperties::HOST_VISIBLE | MemoryProperties::HOST_CACHED;
        let can_prefer_cached = self.can_map(cached);
        if let Shared::As(blob) = self.try_share(make(required)?, usage, can_prefer_cached)? {
            return Ok(blob);
        }
        let wanted = make(cached).and_then(|made| self.try_share(made, usage, false));
        if let Ok(Shared::As(blob)) = wanted {
            return Ok(blob);
        }
        self.share_as_it_is(make(required)?, usage)
    }

    /// Shares memory, whatever the host's policy would prefer.
    ///
    /// # Errors
    /// The status for the guest.
    pub fn share_as_it_is(&self, made: Made<G>, usage: u32) -> Result<Blob<G>, Status> {
        match self.try_share(made, usage, false)? {
            Shared::As(blob) => Ok(blob),
            Shared::Instead => Err(Status::Refused),
        }
    }

    /// Whether a type with all of these properties can be mapped.
    fn can_map(&self, properties: MemoryProperties) -> bool {
        self.capset.types.iter().any(|memory_type| {
            let has = MemoryProperties::from_bits_truncate(memory_type.properties.get());
            let flags = TypeFlags::from_bits_truncate(memory_type.flags.get());
            has.contains(properties) && flags.contains(TypeFlags::MAPPABLE)
        })
    }

    fn try_share(
        &self,
        (memory, image): Made<G>,
        usage: u32,
        can_prefer_cached: bool,
    ) -> Result<Shared<G>, Status> {
        let size = self.whole_pages(memory.size()).ok_or(Status::Failed)?;
        let exported = memory.export()?;
        let allocated = memory.allocated();
        let memory = Arc::new(BlobMemory::new(memory));
        let mut blob = Blob {
            memory,
            size,
            usage,
            image,
            record: None,
        };
        let backing = exported.map(|(fd, kind)| Backing::new(fd, kind, size));
        let backing = match backing {
            None => return Ok(Shared::As(blob)),
            Some(Ok(backing)) => backing,
            Some(Err(error)) => {
                debug!(%error, "memory cannot be shared");
                return Ok(Shared::As(blob));
            }
        };
        let source = Source::Allocated {
            memory: allocated,
            can_prefer_cached,
        };
        let name = format_args!("memory of the blob context");
        let types = match self.types.decide_mapping(&name, backing.exporter(), source) {
            Outcome::Map(types) => Some(types),
            Outcome::NotMappable => None,
            Outcome::AllocateInstead(_) => return Ok(Shared::Instead),
            Outcome::Refuse(_) => return Err(Status::Refused),
        };
        let memory: Arc<dyn DeviceMemory> = Arc::clone(&blob.memory) as _;
        let record = BlobRecord::new(backing, types, Some(memory)).of_image(image);
        blob.record = Some(Arc::new(record));
        Ok(Shared::As(blob))
    }
}
