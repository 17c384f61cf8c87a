//! Memory: what there is, what is asked for, what is had.

mod allocation;
mod error;
mod mapped;
mod request;
mod types;

pub use allocation::{Allocation, Exported};
pub use error::{AccessError, AllocateError, ExportError, ImportError};
pub use mapped::MappedBytes;
pub use request::{AllocationRequest, ExportNeed, ImportRequest};
pub use types::{HeapInfo, MemoryTypeInfo};

/// Memory of the host that the device can be given.
///
/// # Safety
/// The bytes stay mapped, readable and writable at the same place as long as the value lives, and
/// nothing of Rust holds a reference to them.
pub unsafe trait HostMemory: Send + Sync {
    /// Where it starts.
    fn as_ptr(&self) -> *mut u8;
    /// Bytes.
    fn len(&self) -> usize;
    /// Whether there are no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
