//! Upper bounds on what one command may carry.
//!
//! A guest chooses every length in a command, so each one has a bound that holds before anything
//! is allocated for it.

/// Descriptors of a queue. As many commands can be in flight.
pub const MAX_QUEUE_SIZE: u16 = 1024;

/// Bytes of a command stream (SUBMIT_3D).
pub const MAX_SUBMIT_LEN: usize = 4 << 20;

/// Bytes of a request that are copied out of guest memory, trailing arrays included.
pub const MAX_REQUEST_LEN: usize = MAX_SUBMIT_LEN + 4096;

/// Entries of a backing list (ATTACH_BACKING, CREATE_BLOB). QEMU's device has the same bound.
pub const MAX_BACKING_ENTRIES: u32 = 16384;

/// Scanouts of a device, VIRTIO 1.4 section 5.7.4.
pub const MAX_SCANOUTS: u32 = 16;

/// Rings of a context: `ring_idx` is 0 to 63, VIRTIO 1.4 section 5.7.6.7.
pub const MAX_RINGS: u8 = 64;

/// Pixels along one side of a 2D resource.
pub const MAX_2D_DIMENSION: u32 = 16384;

/// Width and height of a cursor image, VIRTIO 1.4 section 5.7.6.10.
pub const CURSOR_SIDE: u32 = 64;

/// Bytes of an EDID blob, VIRTIO 1.4 section 5.7.6.8.
pub const EDID_LEN: usize = 1024;
