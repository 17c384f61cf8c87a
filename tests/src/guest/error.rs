//! What can go wrong between a guest program and its Vulkan driver.

use ash::vk;

/// Why a guest program could not use the device.
#[derive(Debug, thiserror::Error)]
pub enum GuestError {
    /// No Vulkan loader on this machine. As text, because the error repeats its own causes.
    #[error("The Vulkan loader cannot be loaded: {0}")]
    Load(String),
    /// A Vulkan command returned an error.
    #[error("{command} failed: {result}")]
    Command {
        /// The command's name.
        command: &'static str,
        /// What it returned.
        result: vk::Result,
    },
    /// No physical device, or none with the wanted name.
    #[error("No device{}, found: {found:?}", wanted.as_ref().map_or(String::new(), |name| format!(" named like {name:?}")))]
    NoDevice {
        /// The part of a name that was asked for.
        wanted: Option<String>,
        /// The names of the devices there are.
        found: Vec<String>,
    },
    /// The device is older than Vulkan 1.1.
    #[error("{device} offers Vulkan {}.{} only, 1.1 is needed", vk::api_version_major(*version), vk::api_version_minor(*version))]
    TooOld {
        /// The device's name.
        device: String,
        /// Its `apiVersion`.
        version: u32,
    },
    /// No queue family with graphics and compute.
    #[error("{device} has no queue family with graphics and compute")]
    NoQueue {
        /// The device's name.
        device: String,
    },
    /// No memory type fits both the resource and the wish.
    #[error("No memory type among {allowed:#x} is {required:?}")]
    NoMemoryType {
        /// `memoryTypeBits` of the resource.
        allowed: u32,
        /// The properties that were required.
        required: vk::MemoryPropertyFlags,
    },
    /// No format of a list can be used as asked.
    #[error("None of {formats:?} is supported with {features:?}")]
    NoFormat {
        /// The formats that were tried.
        formats: Vec<vk::Format>,
        /// The features that were needed.
        features: vk::FormatFeatureFlags,
    },
    /// Memory of a type that cannot be mapped.
    #[error("The memory is not host-visible and cannot be mapped")]
    NotHostVisible,
    /// `vkMapMemory` succeeded with a null pointer.
    #[error("vkMapMemory returned a null pointer")]
    NullMapping,
    /// A shader is not SPIR-V.
    #[error("A shader module cannot be read")]
    Shader(#[from] std::io::Error),
}

/// Names the command that a Vulkan result came from.
pub trait During<T> {
    /// Turns an error into [`GuestError::Command`].
    fn during(self, command: &'static str) -> Result<T, GuestError>;
}

impl<T> During<T> for Result<T, vk::Result> {
    fn during(self, command: &'static str) -> Result<T, GuestError> {
        self.map_err(|result| GuestError::Command { command, result })
    }
}
