//! The Vulkan side of coherd.
