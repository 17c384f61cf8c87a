//! Memory of a Vulkan device as those see it who access it: types, brackets, bytes and speed.
//!
//! A [`Subject`] is a piece of memory and the file that shares it. There are several [`Door`]s to
//! it: the mapping that vkMapMemory gives, and mappings of the file, which any other process could
//! make. [`Gpu`] tells whether the device and a door see each other's writes, in brackets and
//! without, and [`speed`] how fast a door is.

mod door;
mod error;
mod gpu;
pub mod matrix;
pub mod report;
pub mod speed;
mod subject;
mod table;

pub use door::{Door, View};
pub use error::MemoryError;
pub use gpu::{Bytes, Gpu, Seen};
pub use subject::Subject;
pub use table::Table;
