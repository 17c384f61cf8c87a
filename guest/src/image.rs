//! Images by DRM format and modifier.

use coherd_protocol::blob_context::command::{self, opcode};
use coherd_protocol::blob_context::limits::{MAX_MODIFIERS, MAX_PLANES};
use coherd_protocol::blob_context::reply;
use thiserror::Error;
use zerocopy::little_endian::U64;

use crate::allocation::{Allocation, BlobError, forget, make_blob};
use crate::context::{CallError, Context};
use crate::memory::{Memory, MemoryProperties};

pub use coherd_protocol::blob_context::command::ImageUsage;

/// `DRM_FORMAT_MOD_LINEAR`
pub const LINEAR: u64 = 0;

/// Why there is no image.
#[derive(Debug, Error)]
pub enum ImageError {
    /// More modifiers than a command can have.
    #[error("{0} modifiers are too many; {MAX_MODIFIERS} are allowed")]
    Modifiers(usize),
    /// The host did not make it.
    #[error("cannot make an image of {width}x{height} pixels in format {fourcc:#010x}")]
    Host {
        /// Pixels along a line.
        width: u32,
        /// Lines.
        height: u32,
        /// The format.
        fourcc: u32,
        /// Why not.
        source: CallError,
    },
    /// The host's layout is none.
    #[error("the host's layout of the image is not inside its memory")]
    Layout,
    /// See [`BlobError`].
    #[error(transparent)]
    Blob(#[from] BlobError),
}

/// What image to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageRequest {
    /// Pixels along a line.
    pub width: u32,
    /// Lines.
    pub height: u32,
    /// A code of `drm_fourcc.h`.
    pub fourcc: u32,
    /// Modifiers to choose from; none means any.
    pub modifiers: Vec<u64>,
    /// What it is for, beyond copies.
    pub usage: ImageUsage,
    /// What its memory type has to have.
    pub required: MemoryProperties,
    /// What its memory type should have beyond that.
    pub preferred: MemoryProperties,
    /// Whether it will be shared with other contexts, by [`Allocation::export`].
    pub shareable: bool,
}

/// Where a plane of an image is in its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plane {
    /// Bytes from the start of the memory.
    pub offset: u64,
    /// Bytes from line to line.
    pub pitch: u64,
    /// Bytes of the plane.
    pub size: u64,
}

/// An image and its memory.
#[derive(Clone, Debug)]
pub struct Image {
    allocation: Allocation,
    modifier: u64,
    planes: Vec<Plane>,
}

impl Context {
    /// Makes an image.
    ///
    /// # Errors
    /// [`ImageError`]
    pub fn create_image(&self, request: &ImageRequest) -> Result<Image, ImageError> {
        let count = u32::try_from(request.modifiers.len()).ok();
        let count = count.filter(|count| *count <= MAX_MODIFIERS);
        let count = count.ok_or(ImageError::Modifiers(request.modifiers.len()))?;
        let blob_id = self.shared.new_blob_id();
        let command = command::Image {
            blob_id: blob_id.into(),
            width: request.width.into(),
            height: request.height.into(),
            fourcc: request.fourcc.into(),
            usage: request.usage.bits().into(),
            required: request.required.bits().into(),
            preferred: request.preferred.bits().into(),
            modifier_count: count.into(),
            flags: 0.into(),
        };
        let modifiers: Vec<U64> = request
            .modifiers
            .iter()
            .map(|word| (*word).into())
            .collect();
        let created = self
            .call(opcode::IMAGE, &command, &modifiers)
            .and_then(|reply| reply.get::<reply::ImageCreated>());
        let created = created.map_err(|source| {
            forget(&self.shared, blob_id, &source);
            ImageError::Host {
                width: request.width,
                height: request.height,
                fourcc: request.fourcc,
                source,
            }
        })?;
        let memory = Memory::new(&created.memory);
        let blob = make_blob(&self.shared, blob_id, &memory, request.shareable)?;
        let planes = planes(&created.layout, memory.size).ok_or(ImageError::Layout)?;
        Ok(Image {
            allocation: Allocation { blob },
            modifier: created.layout.modifier.get(),
            planes,
        })
    }
}

impl Image {
    /// Its memory.
    #[must_use]
    pub fn allocation(&self) -> &Allocation {
        &self.allocation
    }

    /// The modifier that the host chose.
    #[must_use]
    pub fn modifier(&self) -> u64 {
        self.modifier
    }

    /// Its planes, inside its memory.
    #[must_use]
    pub fn planes(&self) -> &[Plane] {
        &self.planes
    }
}

/// The planes of a layout, if each of them is inside the memory.
fn planes(layout: &reply::ImageLayout, size: u64) -> Option<Vec<Plane>> {
    let count = usize::try_from(layout.plane_count.get()).ok()?;
    if count == 0 || count > MAX_PLANES {
        return None;
    }
    layout
        .planes
        .iter()
        .take(count)
        .map(|plane| {
            let (offset, len) = (plane.offset.get(), plane.size.get());
            let inside = offset.checked_add(len).is_some_and(|end| end <= size);
            inside.then_some(Plane {
                offset,
                pitch: plane.pitch.get(),
                size: len,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::FromZeros;

    fn layout(count: u32, offset: u64, size: u64) -> reply::ImageLayout {
        let mut layout = reply::ImageLayout::new_zeroed();
        layout.plane_count = count.into();
        layout.planes[0].offset = offset.into();
        layout.planes[0].size = size.into();
        layout
    }

    #[test]
    fn planes_have_to_be_inside_the_memory() {
        assert_eq!(planes(&layout(1, 4096, 4096), 8192).unwrap().len(), 1);
        assert_eq!(planes(&layout(4, 0, 8192), 8192).unwrap().len(), 4);
        for bad in [
            layout(0, 0, 0),
            layout(5, 0, 0),
            layout(1, 1, 8192),
            layout(1, u64::MAX, 1),
        ] {
            assert_eq!(planes(&bad, 8192), None);
        }
    }
}
