//! Memory of the host's GPU for programs in a Linux guest of coherd: allocated by property, mapped
//! with the type that it was allocated with, and kept right with brackets.
//!
//! ```no_run
//! use coherd_guest::{AllocationRequest, Context, MemoryProperties};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let context = Context::open()?;
//! let request = AllocationRequest::new(64 << 10, MemoryProperties::HOST_VISIBLE);
//! let (from, to) = (context.allocate(&request)?, context.allocate(&request)?);
//!
//! let mapping = from.map()?;
//! let mut guard = mapping.write(..5)?;
//! guard.copy_from(0, b"hello")?;
//! guard.end()?;
//!
//! context.copy(from.at(0), to.at(0), 5)?.wait()?;
//!
//! let mapping = to.map()?;
//! assert_eq!(mapping.read(..5)?.to_vec(), b"hello");
//! # Ok(())
//! # }
//! ```
//!
//! The format of commands and replies is that of `docs/blob-context.md`; the kernel's interface is
//! that of `virtgpu_drm.h`, from Linux 5.16 on. For C there are `include/coherd-guest.h` and the crate
//! `coherd-guest-c`.

#![deny(unsafe_code)]

pub mod access;
mod allocation;
mod blob;
mod context;
mod device;
#[cfg(test)]
mod fake;
mod fence;
mod guard;
mod host;
mod image;
mod ledger;
mod mapping;
mod memory;
mod open_ranges;
mod share;
#[cfg(test)]
mod tests;
#[cfg(feature = "tool")]
pub mod tool;
mod transfer;
mod transport;
mod uapi;

pub use access::{Bytes, RangeError};
pub use allocation::{AllocateError, Allocation, AllocationRequest, BlobError, BufferUsage};
pub use coherd_protocol::blob_context::Status;
pub use context::{CallError, Context, OpenError, Options, Pending, Reply};
pub use device::{DeviceError, Unsuitable};
pub use guard::{
    AccessError, Bracket, Guard, Kind, Read, ReadGuard, ReadWrite, ReadWriteGuard, Reads, Write,
    WriteGuard, Writes,
};
pub use host::{Format, Heap, Host, HostError};
pub use image::{Image, ImageError, ImageRequest, ImageUsage, LINEAR, Plane};
pub use ledger::{Description, Holder, Owner};
pub use mapping::{MapError, Mapping};
pub use memory::{Access, Backing, Caching, Memory, MemoryProperties, MemoryType};
pub use share::ShareError;
pub use transfer::{Place, Submission, TransferError};
