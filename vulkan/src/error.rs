//! What can go wrong in any call to the device.

use ash::vk;
use thiserror::Error;

/// The failure of a Vulkan call. Every module's own error has it as a variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DeviceError {
    /// The device is lost: nothing that needs it works any more, and it has to be opened anew.
    #[error("the Vulkan device is lost")]
    Lost,
    /// The driver has no memory of the device left.
    #[error("the driver is out of device memory")]
    OutOfDeviceMemory,
    /// The driver has no memory of the host left.
    #[error("the driver is out of host memory")]
    OutOfHostMemory,
    /// A call failed in another way.
    #[error("{call} failed")]
    Call {
        /// The Vulkan function.
        call: &'static str,
        /// Its result.
        source: vk::Result,
    },
}

impl DeviceError {
    /// The error of `call`, which returned `result`.
    pub(crate) fn new(call: &'static str, result: vk::Result) -> Self {
        match result {
            vk::Result::ERROR_DEVICE_LOST => Self::Lost,
            vk::Result::ERROR_OUT_OF_DEVICE_MEMORY => Self::OutOfDeviceMemory,
            vk::Result::ERROR_OUT_OF_HOST_MEMORY => Self::OutOfHostMemory,
            source => Self::Call { call, source },
        }
    }
}
