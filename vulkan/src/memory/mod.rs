//! Memory: what there is, what is asked for, what is had.

mod allocate;
mod allocation;
mod attempt;
mod buffer;
mod choose;
mod device_memory;
mod error;
mod export;
mod exports;
mod heaps;
mod host;
mod import;
mod mapped;
mod pointer;
mod range;
mod request;
mod shm;
mod types;

pub use allocation::Allocation;
pub use error::{AccessError, AllocateError, ExportError, ImportError};
pub use export::Exported;
pub use host::{HostMemory, MappedFile};
pub(crate) use mapped::Copied;
pub use mapped::MappedBytes;
pub use request::{AllocationRequest, ExportNeed, ImportRequest};
pub use types::{HeapInfo, MemoryTypeInfo};

pub(crate) use allocate::{allocate, another_type_may_do};
pub(crate) use allocation::{Memory, Parts};
pub(crate) use buffer::{Buffer, Dedicated, Requirements, TRANSFERS};
pub(crate) use choose::{allows, rank};
pub(crate) use device_memory::{DeviceMemory, Source};
pub(crate) use export::Share;
pub(crate) use exports::Exports;
pub(crate) use heaps::{Heaps, heaps};
pub(crate) use import::{dma_buf as import_dma_buf, host as import_host};
pub(crate) use types::memory_types;
