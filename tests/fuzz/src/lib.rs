//! Fuzz targets of coherd, each a function of the input's bytes that panics where the daemon
//! does what it must not.
//!
//! Nothing here has threads, clocks or random numbers, so that an input does the same each time
//! and coverage means something; but for `sync_socket`, whose server is nothing without its threads.

pub mod blob_context;
pub mod decode;
pub mod device;
mod device_thread;
pub mod state;
pub mod sync_client;
pub mod sync_decode;
pub mod sync_socket;
pub mod vhost_user;
mod vmm;
pub mod window;
