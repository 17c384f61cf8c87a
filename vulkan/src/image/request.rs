//! What a caller asks for.

use coherd_protocol::blob_context::command::ImageUsage;
use coherd_protocol::memory::MemoryProperties;

use crate::memory::ExportNeed;

/// A wish for an image.
#[derive(Clone, Copy, Debug, Default)]
pub struct ImageRequest<'a> {
    /// What it is for: shown by validation layers and debuggers.
    pub name: &'a str,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Format, `drm_fourcc.h`.
    pub fourcc: u32,
    /// Modifiers that are welcome, `drm_fourcc.h`; none means any.
    pub modifiers: &'a [u64],
    /// As in [`AllocationRequest`](crate::memory::AllocationRequest).
    pub required: MemoryProperties,
    /// As in [`AllocationRequest`](crate::memory::AllocationRequest).
    pub preferred: MemoryProperties,
    /// What the image is for, beyond copies.
    pub usage: ImageUsage,
    /// Whether it will be exported. An image is exported as a dma-buf or not at all.
    pub export: ExportNeed,
}
