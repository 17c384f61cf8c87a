//! Why there is no image.

use thiserror::Error;

use crate::error::DeviceError;
use crate::memory::AllocateError;

/// Why an image was not created.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ImageError {
    /// The device has no images whose layout others could know.
    #[error("the device has no images with DRM format modifiers")]
    Unsupported,
    /// This crate or the device does not know the format.
    #[error("the device has no images of format {fourcc:#010x}")]
    UnsupportedFormat {
        /// Format asked for.
        fourcc: u32,
    },
    /// No modifier that was asked for goes with the format, usage and export.
    #[error("none of the modifiers works with the format and usage")]
    UnsupportedModifier,
    /// The modifiers work, but not for as many pixels, or not for an odd number of them.
    #[error("no image of {width} x {height} pixels with these modifiers")]
    UnsupportedSize {
        /// Pixels asked for.
        width: u32,
        /// Pixels asked for.
        height: u32,
    },
    /// The driver told of a layout that cannot be.
    #[error("the driver tells of an impossible layout")]
    Layout,
    /// The memory was not allocated.
    #[error(transparent)]
    Allocate(#[from] AllocateError),
}

impl From<DeviceError> for ImageError {
    fn from(error: DeviceError) -> Self {
        Self::Allocate(error.into())
    }
}
