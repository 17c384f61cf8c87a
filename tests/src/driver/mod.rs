//! The guest's virtio-gpu driver, in this process.
//!
//! [`Virtqueue`] is the driver's side of a split virtqueue, [`Gpu`] puts commands on the two
//! queues of the device and collects the answers, in whatever order they come. Commands that no
//! correct driver would send go through [`Request`] byte by byte, or through
//! [`Virtqueue::write_descriptor`] and [`Virtqueue::push`] descriptor by descriptor.

mod answer;
pub mod blob_program;
mod commands;
mod cursor;
mod descriptor;
mod error;
mod gpu;
mod pages;
mod port;
mod request;
mod requests;
mod resources;
#[cfg(test)]
mod tests;
mod textures;
mod virtqueue;

pub use answer::Answer;
pub use blob_program::BlobProgram;
pub use commands::Blob;
pub use cursor::Cursor;
pub use descriptor::{Buffer, Descriptor};
pub use error::DriverError;
pub use gpu::{Gpu, QueueKind, Token};
pub use pages::{PAGE, Pages};
pub use port::Shape;
pub use request::{Request, kind};
pub use textures::Transfer;
pub use virtqueue::{Used, Virtqueue, VirtqueueError};
