//! Wire formats of coherd.
//!
//! Only layouts, size limits and the mapping from errors to VIRTIO response codes live here: no
//! I/O and no policy. Every structure is little endian and has alignment 1, so that it can be
//! viewed in place in any byte buffer.

#![forbid(unsafe_code)]

pub mod blob_context;
pub mod gpu;
mod layout;
pub mod memory;
pub mod state;
pub mod sync;
