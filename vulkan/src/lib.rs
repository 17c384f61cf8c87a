//! The Vulkan side of coherd: which devices the host has and what memory they can share.
//!
//! Vulkan is loaded at run time; nothing of it is needed to build.

pub mod adapter;
mod enumerate;

pub use adapter::{Adapter, AdapterKind, RenderNode, SelectError, select};
pub use enumerate::{EnumerateError, enumerate};
