//! The driver against the device side of the `virtio-queue` crate.

mod device;
mod gpu;
mod pages;
mod virtqueue;
