//! The layer between the Vulkan loader and lavapipe, each test in a process of its own.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod coherence;
mod faults;
mod gpu;
mod images;
mod isolation;
mod memory;
mod sharing;
