//! Vulkan for the programs that run inside a guest: a picture, and checks of memory and swapchains.
//!
//! Headless and plain: Vulkan 1.1, one queue, and neither a surface nor external memory unless a
//! program asks for it, because a host may be unable to export anything. What these programs
//! compute is bit-for-bit the same on a driver and on Venus over that driver, so results never
//! depend on time, threads or the C library.

mod buffer;
pub mod checks;
mod commands;
mod description;
mod error;
mod gpu;
pub mod hash;
mod image;
mod memory;
mod owned;
mod pipeline;
pub mod random;
pub mod scene;
mod shader;
mod surface;
mod swapchain;

pub use buffer::{Buffer, MappedBuffer};
pub use commands::{Commands, Semaphores};
pub use description::{DeviceDescription, MemoryTypeDescription};
pub use error::{During, GuestError};
pub use gpu::{Gpu, GpuOptions};
pub use image::{Image, ImageDescription};
pub use memory::{Memory, MemoryWish};
pub use owned::Owned;
pub use pipeline::{DescriptorSet, Pipeline, compute_pipeline};
pub use shader::{Shader, ShaderModule};
pub use surface::{HEADLESS_SURFACE, Surface};
pub use swapchain::{Swapchain, SwapchainWish};
