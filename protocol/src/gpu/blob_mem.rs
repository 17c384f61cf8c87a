//! Who backs a blob, VIRTIO 1.4 section 5.7.6.8.

/// VIRTIO_GPU_BLOB_MEM_GUEST: guest memory.
pub const GUEST: u32 = 1;
/// VIRTIO_GPU_BLOB_MEM_HOST3D: an allocation of the host.
pub const HOST3D: u32 = 2;
/// VIRTIO_GPU_BLOB_MEM_HOST3D_GUEST: an allocation of the host that guest memory shadows.
pub const HOST3D_GUEST: u32 = 3;
