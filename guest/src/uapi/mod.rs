//! The kernel's interface: `include/uapi/drm/virtgpu_drm.h` and the part of `drm.h` that is used
//! with it.
//!
//! [`calls`] has one function for each ioctl, which takes and returns values and slices.

pub mod calls;
mod numbers;
mod structs;
#[cfg(test)]
mod tests;

pub use calls::{BlobFlags, BlobHandle, Parameter};
