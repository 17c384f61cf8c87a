//! The logical device: what everything made from it keeps alive.

use std::ffi::CString;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use ash::{ext, khr, vk};

use crate::error::DeviceError;
use crate::extensions::Extensions;
use crate::facts::Facts;
use crate::instance::Instance;
use crate::loader;
use crate::memory::{Copied, Heaps};

/// Functions of extensions, where the device has them.
pub struct Functions {
    /// VK_KHR_external_memory_fd
    pub memory_fd: Option<khr::external_memory_fd::Device>,
    /// VK_EXT_external_memory_host
    pub host_memory: Option<ext::external_memory_host::Device>,
    /// VK_KHR_timeline_semaphore
    pub timeline: Option<khr::timeline_semaphore::Device>,
    /// VK_KHR_external_semaphore_fd
    pub semaphore_fd: Option<khr::external_semaphore_fd::Device>,
    /// VK_EXT_image_drm_format_modifier
    pub modifiers: Option<ext::image_drm_format_modifier::Device>,
    /// VK_EXT_debug_utils
    names: Option<ext::debug_utils::Device>,
}

/// See the module's description.
pub struct LogicalDevice {
    raw: ash::Device,
    physical: vk::PhysicalDevice,
    family: u32,
    functions: Functions,
    facts: Facts,
    heaps: Heaps,
    lost: AtomicBool,
    copied: Copied,
    instance: Instance,
}

impl LogicalDevice {
    /// Creates a device with one queue, of `family`.
    ///
    /// # Errors
    /// That of vkCreateDevice.
    pub fn new(
        instance: Instance,
        physical: vk::PhysicalDevice,
        family: u32,
        facts: Facts,
    ) -> Result<Self, DeviceError> {
        let (raw, functions) = {
            let _alone = loader::lock();
            let raw = create(instance.raw(), physical, family, facts.extensions)?;
            let functions = Functions::load(&instance, &raw, facts.extensions);
            (raw, functions)
        };
        Ok(Self {
            heaps: Heaps::new(&facts),
            raw,
            physical,
            family,
            functions,
            facts,
            lost: AtomicBool::new(false),
            copied: Copied::default(),
            instance,
        })
    }

    /// The functions of the device.
    pub fn raw(&self) -> &ash::Device {
        &self.raw
    }

    /// The functions of its extensions.
    pub fn functions(&self) -> &Functions {
        &self.functions
    }

    /// The functions of its instance.
    pub fn instance(&self) -> &ash::Instance {
        self.instance.raw()
    }

    /// The physical device.
    pub fn physical(&self) -> vk::PhysicalDevice {
        self.physical
    }

    /// The family of its queue.
    pub fn family(&self) -> u32 {
        self.family
    }

    /// What it can do.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Whether it has an extension.
    pub fn has(&self, extension: Extensions) -> bool {
        self.facts.extensions.contains(extension)
    }

    /// What is allocated.
    pub fn heaps(&self) -> &Heaps {
        &self.heaps
    }

    /// What this process copied in or out of its memory.
    pub fn copied(&self) -> &Copied {
        &self.copied
    }

    /// Whether it is lost.
    pub fn lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }

    /// An error at once if the device is lost.
    pub fn ensure_alive(&self) -> Result<(), DeviceError> {
        if self.lost() {
            Err(DeviceError::Lost)
        } else {
            Ok(())
        }
    }

    /// The outcome of `call`, which may be the loss of the device.
    pub fn outcome<T>(
        &self,
        call: &'static str,
        result: Result<T, vk::Result>,
    ) -> Result<T, DeviceError> {
        result.map_err(|result| {
            if result == vk::Result::ERROR_DEVICE_LOST {
                self.lost.store(true, Ordering::Relaxed);
            }
            DeviceError::new(call, result)
        })
    }

    /// Gives an object a name for validation layers and debuggers.
    pub fn name(&self, object: impl vk::Handle, name: &str) {
        let Some(functions) = &self.functions.names else {
            return;
        };
        let name = CString::new(name.replace('\0', " ")).unwrap_or_default();
        let info = vk::DebugUtilsObjectNameInfoEXT::default()
            .object_handle(object)
            .object_name(&name);
        let _alone = loader::lock();
        // SAFETY: the object is one of this device and nobody else uses it yet. A name that could
        // not be given is no reason to fail.
        let _unnamed = unsafe { functions.set_debug_utils_object_name(&info) };
    }
}

impl fmt::Debug for LogicalDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogicalDevice")
            .field("facts", &self.facts)
            .field("lost", &self.lost)
            .finish_non_exhaustive()
    }
}

impl Drop for LogicalDevice {
    fn drop(&mut self) {
        let _alone = loader::lock();
        // SAFETY: whatever is made from the device keeps it alive, so nothing is left
        // (VUID-vkDestroyDevice-device-05137).
        unsafe { self.raw.destroy_device(None) };
    }
}

impl Functions {
    fn load(instance: &Instance, device: &ash::Device, extensions: Extensions) -> Self {
        let raw = instance.raw();
        let has = |extension| extensions.contains(extension);
        Self {
            memory_fd: has(Extensions::MEMORY_FD)
                .then(|| khr::external_memory_fd::Device::new(raw, device)),
            host_memory: has(Extensions::HOST_MEMORY)
                .then(|| ext::external_memory_host::Device::new(raw, device)),
            timeline: has(Extensions::TIMELINE)
                .then(|| khr::timeline_semaphore::Device::new(raw, device)),
            semaphore_fd: has(Extensions::SEMAPHORE_FD)
                .then(|| khr::external_semaphore_fd::Device::new(raw, device)),
            modifiers: has(Extensions::MODIFIERS)
                .then(|| ext::image_drm_format_modifier::Device::new(raw, device)),
            names: instance
                .names_objects()
                .then(|| ext::debug_utils::Device::new(raw, device)),
        }
    }
}

fn create(
    instance: &ash::Instance,
    physical: vk::PhysicalDevice,
    family: u32,
    extensions: Extensions,
) -> Result<ash::Device, DeviceError> {
    let queues = [vk::DeviceQueueCreateInfo::default()
        .queue_family_index(family)
        .queue_priorities(&[1.0])];
    let names = extensions.names();
    let mut timeline =
        vk::PhysicalDeviceTimelineSemaphoreFeatures::default().timeline_semaphore(true);
    let mut info = vk::DeviceCreateInfo::default()
        .queue_create_infos(&queues)
        .enabled_extension_names(&names);
    if extensions.contains(Extensions::TIMELINE) {
        info = info.push_next(&mut timeline);
    }
    // SAFETY: the device is one of the live instance, has the extensions with those they depend
    // on (VUID-vkCreateDevice-ppEnabledExtensionNames-01387) and the feature, and the family is
    // one of its own (VUID-VkDeviceQueueCreateInfo-queueFamilyIndex-00381).
    unsafe { instance.create_device(physical, &info, None) }
        .map_err(|result| DeviceError::new("vkCreateDevice", result))
}
