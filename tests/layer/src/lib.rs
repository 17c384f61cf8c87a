//! A Vulkan layer for tests: memory that is not coherent, and faults on request.
//!
//! A driver on the CPU has one kind of memory, on which a missing flush or invalidate cannot
//! show. This layer adds two memory types and makes their memory itself: a memfd that it imports
//! into the driver with VK_EXT_external_memory_host. Incoherent memory has two copies of each
//! page, one that the CPU maps and one that the driver works on, and only vkFlush- and
//! vkInvalidateMappedMemoryRanges copy between them. So the other side of a missing bracket reads
//! stale bytes, every time, also in another process that maps the exported file.
//!
//! It also makes any one fallible call fail, and counts objects and brackets. `README.md` says
//! how to load and control it; [`control`] is for Rust programs.
//!
//! The library speaks version 2 of the interface in the Vulkan loader's
//! `LoaderLayerInterface.md`, cited below as LLI.

// The crate is named as Vulkan layer libraries are: `libVkLayer_<name>.so`.
#![allow(non_snake_case)]

pub mod control;

mod abi;
mod adapter;
mod buffer;
mod chain;
mod device;
mod dispatch;
mod enumerate;
mod export;
mod exports;
mod external;
mod fault;
mod forward;
mod image;
mod image_info;
mod instance;
mod layout;
mod live;
mod mapping;
mod memory;
mod memory_types;
mod modifier;
mod negotiate;
mod objects;
mod pages;
mod proc_addr;
mod properties;
mod registry;
mod resource;
mod statistics;

pub use exports::*;
pub use negotiate::vkNegotiateLoaderLayerInterfaceVersion;

/// The name under which the loader knows this layer; the manifest repeats it.
const LAYER: &core::ffi::CStr = c"VK_LAYER_COHERD_incoherent";
