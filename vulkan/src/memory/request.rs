//! What a caller asks for.

use coherd_protocol::blob_context::command::BufferUsage;
use coherd_protocol::memory::MemoryProperties;

/// Whether memory has to be shared with other processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExportNeed {
    /// It stays in this process.
    #[default]
    None,
    /// It is exported as a file that can be mapped, of whatever kind the device can do.
    Mappable,
    /// It is exported as a dma-buf, so that other devices can import it.
    DmaBuf,
    /// It is exported as well as memory of its type can be, or not at all: the choice of a type
    /// does not depend on that.
    IfPossible,
}

/// A wish for memory.
#[derive(Clone, Copy, Debug, Default)]
pub struct AllocationRequest<'a> {
    /// What it is for: shown by validation layers and debuggers.
    pub name: &'a str,
    /// Bytes.
    pub size: u64,
    /// Properties the memory type has to have.
    pub required: MemoryProperties,
    /// Properties that decide between the types that have the required ones. Of types that are
    /// equal in this, the one with fewer properties that nobody asked for is taken.
    pub preferred: MemoryProperties,
    /// What the GPU does with it, beyond copies and fills.
    pub usage: BufferUsage,
    /// Whether it will be exported.
    pub export: ExportNeed,
}

/// A wish to use memory of others.
#[derive(Clone, Copy, Debug, Default)]
pub struct ImportRequest<'a> {
    /// What it is for: shown by validation layers and debuggers.
    pub name: &'a str,
    /// Bytes from the start of the memory.
    pub size: u64,
    /// As in [`AllocationRequest`], of the types as which the driver can take the memory.
    pub required: MemoryProperties,
    /// As in [`AllocationRequest`].
    pub preferred: MemoryProperties,
    /// What the GPU does with it, beyond copies and fills.
    pub usage: BufferUsage,
}
