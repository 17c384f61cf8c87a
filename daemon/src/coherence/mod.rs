//! What is known of each host blob, and the one way in which accesses to it are made right.
//!
//! A [`BlobRecord`] is shared by all who use a blob. Who begins or ends an access of a processor
//! does so there, whether it is the guest, another process or this one: [`BlobRecord::begin`]
//! and [`BlobRecord::end`].

mod access;
mod description;
mod dma_buf;
mod fences;
mod patience;
mod record;
pub mod registry;
#[cfg(test)]
mod tests;
mod turn;

pub use access::{AccessError, Bracket, DeviceMemory};
pub use fences::kernel_has_fences;
pub use patience::{Patience, PatienceError};
pub use record::{BlobRecord, Held, ImageInfo};
pub use registry::Registry;
