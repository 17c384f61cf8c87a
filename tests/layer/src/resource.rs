//! What buffers and images have in common: which memory they can be bound to.

use ash::vk::ExternalMemoryHandleTypeFlags as HandleTypes;

use crate::adapter::fd_types;

/// How the driver sees a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// As the application made it; the layer's memory types are none of its own.
    Foreign,
    /// Made so that the driver may bind it to host memory, and so to any type of the layer's.
    Importable,
    /// As above, for an application that shares its memory as a file: only types that the
    /// layer makes will do.
    Shared,
}

impl Resource {
    /// A resource that can be bound to host memory, made for the given handle types.
    pub fn importable(handle_types: HandleTypes) -> Self {
        if handle_types.intersects(fd_types()) {
            Self::Shared
        } else {
            Self::Importable
        }
    }
}
