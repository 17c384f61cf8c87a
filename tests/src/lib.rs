//! Test harness of coherd.

pub mod blob_gpu;
pub mod blob_rig;
pub mod conformance;
pub mod dma_buf;
pub mod driver;
pub mod frontend;
pub mod guest;
pub mod hostile;
pub mod interrupt;
pub mod memory;
pub mod moving;
pub mod renderer;
pub mod rig;
pub mod skip;
pub mod sync_rig;
