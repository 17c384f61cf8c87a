//! How a device is found and opened.

use std::sync::Arc;

use ash::vk;
use thiserror::Error;

use crate::adapter::Adapter;
use crate::device::Opened;
use crate::enumerate;
use crate::error::DeviceError;
use crate::facts::Facts;
use crate::image::candidates;
use crate::instance::{EnumerateError, Instance};
use crate::logical::LogicalDevice;
use crate::memory::{AllocateError, Exports, memory_types};
use crate::options::Options;
use crate::selector::{SelectError, Selector, position};
use crate::transfer::Queue;

/// Why no device was opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The host's devices could not be listed.
    #[error("cannot use Vulkan on this host")]
    Enumerate(#[from] EnumerateError),
    /// No device fits.
    #[error(transparent)]
    Select(#[from] SelectError),
    /// The device lacks what this crate cannot do without.
    #[error("{adapter} has no {missing}")]
    Incapable {
        /// The device.
        adapter: String,
        /// What it lacks.
        missing: &'static str,
    },
    /// A Vulkan call failed.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// What can be exported could not be found out.
    #[error("cannot find out what can be exported")]
    Probe(#[from] AllocateError),
}

/// Opens the device that `selector` chooses.
///
/// # Errors
/// See [`OpenError`].
pub fn open(selector: &Selector, options: &Options) -> Result<Opened, OpenError> {
    let instance = Instance::new(options)?.ok_or(SelectError::NoDevice)?;
    let mut devices = enumerate::list(&instance)?;
    let adapters: Vec<Adapter> = devices.iter().map(|(_, adapter)| adapter.clone()).collect();
    let (physical, adapter) = devices.swap_remove(position(&adapters, selector)?);
    let family = transfer_family(instance.raw(), physical).ok_or_else(|| OpenError::Incapable {
        adapter: adapter.to_string(),
        missing: "queue that can copy",
    })?;
    let without = &options.without_extensions;
    let extensions = enumerate::extensions(instance.raw(), physical, without)?;
    let facts = Facts::of(instance.raw(), physical, extensions);
    let device = Arc::new(LogicalDevice::new(instance, physical, family, facts)?);
    let exports = match Exports::probe(&device) {
        Err(AllocateError::Device(error)) => return Err(error.into()),
        other => other?,
    };
    let candidates = candidates(&device)?;
    Ok(Opened {
        queue: Arc::new(Queue::new(&device)?),
        memory_types: memory_types(&device, &exports),
        formats: candidates.iter().map(|c| c.info).collect(),
        candidates,
        adapter,
        exports,
        device,
    })
}

/// A queue family that copies: one that does nothing else, since that is a GPU's copy engine, else
/// the first that can (graphics and compute imply it).
fn transfer_family(instance: &ash::Instance, device: vk::PhysicalDevice) -> Option<u32> {
    // SAFETY: the device is one of the live instance.
    let families = unsafe { instance.get_physical_device_queue_family_properties(device) };
    choose_family(families.iter().map(|family| family.queue_flags))
}

fn choose_family(families: impl Iterator<Item = vk::QueueFlags>) -> Option<u32> {
    let renders = vk::QueueFlags::GRAPHICS | vk::QueueFlags::COMPUTE;
    let copies = renders | vk::QueueFlags::TRANSFER;
    families
        .zip(0..)
        .filter(|(flags, _)| flags.intersects(copies))
        .min_by_key(|(flags, _)| flags.intersects(renders))
        .map(|(_, index)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copy_engine_is_preferred() {
        let families = [
            vk::QueueFlags::GRAPHICS | vk::QueueFlags::COMPUTE | vk::QueueFlags::TRANSFER,
            vk::QueueFlags::COMPUTE,
            vk::QueueFlags::VIDEO_DECODE_KHR,
            vk::QueueFlags::TRANSFER | vk::QueueFlags::SPARSE_BINDING,
        ];
        assert_eq!(choose_family(families.into_iter()), Some(3));
        assert_eq!(choose_family(families[..3].iter().copied()), Some(0));
        assert_eq!(choose_family(families[2..3].iter().copied()), None);
    }
}
