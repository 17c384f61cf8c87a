//! A Vulkan layer that hides device extensions from the application above it.
//!
//! A driver may advertise an extension that cannot work on this host: lavapipe lists
//! `VK_EXT_external_memory_dma_buf` even where `/dev/udmabuf` is missing and every export fails.
//! A Venus guest believes the list and loses its context on the first export, and nothing of the
//! Venus protocol lets the daemon take the extension back. So the render server must not see it.
//!
//! The names to hide come from the environment variable `COHERD_HIDE_EXTENSIONS`, separated by
//! commas, as it stands when the instance is created. Feature and property queries are not
//! filtered: Vulkan gives their structures no meaning without the extension.
//!
//! The library speaks version 2 of the interface in the Vulkan loader's
//! `LoaderLayerInterface.md`, cited below as LLI, and stays out of the device call chain.

// The crate is named as Vulkan layer libraries are: `libVkLayer_<name>.so`.
#![allow(non_snake_case)]

mod abi;
#[cfg(test)]
mod chain_tests;
mod dispatch;
mod enumerate;
mod hidden;
mod instance;
mod negotiate;
mod proc_addr;

pub use negotiate::vkNegotiateLoaderLayerInterfaceVersion;

/// The name under which the loader knows this layer; the manifest repeats it.
const LAYER_NAME: &core::ffi::CStr = c"VK_LAYER_COHERD_hide_extensions";

/// The environment variable that lists the extensions to hide.
const HIDE_VARIABLE: &str = "COHERD_HIDE_EXTENSIONS";
