//! Bounds that hold for every device and guest.

/// Modifiers of one IMAGE command.
pub const MAX_MODIFIERS: u32 = 64;

/// Planes of an image.
pub const MAX_PLANES: usize = 4;

/// Pixels along one side of an image.
pub const MAX_IMAGE_DIMENSION: u32 = 16384;

/// Milliseconds that a START may wait for the GPU, whatever the guest asks for.
pub const MAX_SYNC_TIMEOUT_MS: u32 = 10_000;

/// Milliseconds that a START waits if the guest does not say.
pub const DEFAULT_SYNC_TIMEOUT_MS: u32 = 5_000;

/// Holders that a reply to QUERY lists; its count says how many there are.
pub const MAX_HOLDERS: usize = 16;
