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
mod extensions;
mod external;
mod facts;
pub mod image;
mod instance;
mod loader;
mod logical;
pub mod memory;
mod messenger;
mod open;
mod options;
mod selector;
pub mod transfer;

pub use adapter::{Adapter, AdapterKind, RenderNode};
pub use device::Device;
pub use enumerate::enumerate;
pub use error::DeviceError;
pub use instance::EnumerateError;
pub use open::OpenError;
pub use options::{MessageSink, Options};
pub use selector::{SelectError, Selector, select};
