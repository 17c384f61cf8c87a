//! The allocator of coherd on Vulkan.
//!
//! A [`Device`] gives out memory by property, maps, flushes and invalidates it, exports it to
//! other processes and takes theirs, makes images whose layout others know, and has the GPU copy
//! and fill.
//!
//! Vulkan is loaded at run time; nothing of it is needed to build.

pub mod adapter;
mod device;
mod enumerate;
pub mod error;
pub mod image;
pub mod memory;
mod options;
mod selector;
pub mod transfer;

pub use adapter::{Adapter, AdapterKind, RenderNode};
pub use device::{Device, OpenError};
pub use enumerate::{EnumerateError, enumerate};
pub use error::DeviceError;
pub use options::{MessageSink, Options};
pub use selector::{SelectError, Selector, select};
