//! virtio-gpu, VIRTIO 1.4 section 5.7 and the Linux uapi header `linux/virtio_gpu.h`.

pub mod blob_mem;
pub mod capset;
pub mod command;
pub mod config;
pub mod error;
pub mod features;
pub mod format;
pub mod header;
pub mod limits;
pub mod response;
pub mod wire;

pub use command::Command;
pub use config::Config;
pub use error::{ErrorCode, GpuError};
pub use features::Features;
pub use format::Format;
pub use header::{Header, HeaderFlags};
pub use response::Response;
