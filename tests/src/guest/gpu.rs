//! The instance, the chosen physical device, and a logical device with one queue.

use std::ffi::{CStr, c_char};
use std::fmt;

use ash::{Device, Entry, Instance, vk};

use super::error::{During, GuestError};

/// Which device to open, and with what.
#[derive(Clone, Debug, Default)]
pub struct GpuOptions<'a> {
    /// Part of the device's name, in any case; the first device when absent.
    pub device: Option<&'a str>,
    /// Extensions of the instance to enable where it advertises them.
    pub optional_instance_extensions: &'a [&'static CStr],
    /// Extensions of the device to enable where it advertises them.
    pub optional_extensions: &'a [&'static CStr],
}

/// An open device. Everything made from it borrows it, so it goes last.
pub struct Gpu {
    // The loaded library must outlive everything whose functions come from it.
    entry: Entry,
    instance: Instance,
    instance_extensions: Vec<String>,
    physical: vk::PhysicalDevice,
    properties: vk::PhysicalDeviceProperties,
    memory: vk::PhysicalDeviceMemoryProperties,
    extensions: Vec<String>,
    device: Device,
    queue: vk::Queue,
    queue_family: u32,
}

impl fmt::Debug for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gpu")
            .field("name", &self.name())
            .finish_non_exhaustive()
    }
}

impl Gpu {
    /// Loads Vulkan and opens a device.
    pub fn open(options: &GpuOptions<'_>) -> Result<Self, GuestError> {
        // SAFETY: the loader is the system's own libvulkan, whose initialisers are sound to run
        // once per process.
        let entry =
            unsafe { Entry::load() }.map_err(|error| GuestError::Load(error.to_string()))?;
        let instance_extensions = instance_extensions_of(&entry)?;
        let enabled = enabled(options.optional_instance_extensions, &instance_extensions);
        let instance = create_instance(&entry, &enabled)?;
        match open_device(&instance, options) {
            Ok(opened) => Ok(Self {
                entry,
                instance,
                instance_extensions,
                physical: opened.physical,
                properties: opened.properties,
                memory: opened.memory,
                extensions: opened.extensions,
                device: opened.device,
                queue: opened.queue,
                queue_family: opened.queue_family,
            }),
            Err(error) => {
                // SAFETY: nothing made from the instance is left: opening failed.
                unsafe { instance.destroy_instance(None) };
                Err(error)
            }
        }
    }

    /// The name the driver gives the device.
    #[must_use]
    pub fn name(&self) -> String {
        name_of(&self.properties)
    }

    /// Whether the device advertises an extension.
    #[must_use]
    pub fn advertises(&self, extension: &CStr) -> bool {
        contains(&self.extensions, extension)
    }

    /// Whether the instance advertises an extension.
    #[must_use]
    pub fn instance_advertises(&self, extension: &CStr) -> bool {
        contains(&self.instance_extensions, extension)
    }

    /// The loaded library, for functions of instance extensions.
    #[must_use]
    pub fn entry(&self) -> &Entry {
        &self.entry
    }

    /// The instance, for functions of extensions.
    #[must_use]
    pub fn instance(&self) -> &Instance {
        &self.instance
    }

    /// The physical device.
    #[must_use]
    pub fn physical(&self) -> vk::PhysicalDevice {
        self.physical
    }

    /// The physical device's properties and limits.
    pub fn properties(&self) -> &vk::PhysicalDeviceProperties {
        &self.properties
    }

    /// The logical device.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The one queue, which does graphics, compute and transfer.
    #[must_use]
    pub fn queue(&self) -> vk::Queue {
        self.queue
    }

    /// The queue's family.
    #[must_use]
    pub fn queue_family(&self) -> u32 {
        self.queue_family
    }

    /// The memory types, in the driver's order.
    pub fn memory_types(&self) -> &[vk::MemoryType] {
        self.memory.memory_types_as_slice()
    }
}

impl Drop for Gpu {
    fn drop(&mut self) {
        // SAFETY: every object made from the device borrows this struct and so is gone. A failed
        // wait means a lost device, which may be destroyed all the same.
        unsafe {
            let _ = self.device.device_wait_idle();
            self.device.destroy_device(None);
            self.instance.destroy_instance(None);
        }
    }
}

struct Opened {
    physical: vk::PhysicalDevice,
    properties: vk::PhysicalDeviceProperties,
    memory: vk::PhysicalDeviceMemoryProperties,
    extensions: Vec<String>,
    device: Device,
    queue: vk::Queue,
    queue_family: u32,
}

fn create_instance(entry: &Entry, extensions: &[*const c_char]) -> Result<Instance, GuestError> {
    let application = vk::ApplicationInfo::default()
        .application_name(c"coherd guest program")
        .api_version(vk::API_VERSION_1_1);
    let info = vk::InstanceCreateInfo::default()
        .application_info(&application)
        .enabled_extension_names(extensions);
    // SAFETY: the create info and what it points to live until the call returns.
    unsafe { entry.create_instance(&info, None) }.during("vkCreateInstance")
}

fn open_device(instance: &Instance, options: &GpuOptions<'_>) -> Result<Opened, GuestError> {
    let physical = choose(instance, options.device)?;
    // SAFETY: the physical device is one of this instance's.
    let (properties, memory, families) = unsafe {
        (
            instance.get_physical_device_properties(physical),
            instance.get_physical_device_memory_properties(physical),
            instance.get_physical_device_queue_family_properties(physical),
        )
    };
    if properties.api_version < vk::API_VERSION_1_1 {
        let device = name_of(&properties);
        return Err(GuestError::TooOld {
            device,
            version: properties.api_version,
        });
    }
    let wanted = vk::QueueFlags::GRAPHICS | vk::QueueFlags::COMPUTE;
    let queue_family = families
        .iter()
        .position(|family| family.queue_flags.contains(wanted))
        .and_then(|index| u32::try_from(index).ok())
        .ok_or_else(|| GuestError::NoQueue {
            device: name_of(&properties),
        })?;
    let extensions = extensions_of(instance, physical)?;
    let enabled = enabled(options.optional_extensions, &extensions);
    let queues = [vk::DeviceQueueCreateInfo::default()
        .queue_family_index(queue_family)
        .queue_priorities(&[1.0])];
    let info = vk::DeviceCreateInfo::default()
        .queue_create_infos(&queues)
        .enabled_extension_names(&enabled);
    // SAFETY: the create info and the names it points to live until the call returns.
    let device =
        unsafe { instance.create_device(physical, &info, None) }.during("vkCreateDevice")?;
    // SAFETY: the device was made with one queue of this family.
    let queue = unsafe { device.get_device_queue(queue_family, 0) };
    Ok(Opened {
        physical,
        properties,
        memory,
        extensions,
        device,
        queue,
        queue_family,
    })
}

fn choose(instance: &Instance, wanted: Option<&str>) -> Result<vk::PhysicalDevice, GuestError> {
    // SAFETY: the instance is alive.
    let devices =
        unsafe { instance.enumerate_physical_devices() }.during("vkEnumeratePhysicalDevices")?;
    let mut found = Vec::new();
    for physical in devices {
        // SAFETY: the physical device is one of this instance's.
        let name = name_of(&unsafe { instance.get_physical_device_properties(physical) });
        if wanted.is_none_or(|part| name.to_lowercase().contains(&part.to_lowercase())) {
            return Ok(physical);
        }
        found.push(name);
    }
    Err(GuestError::NoDevice {
        wanted: wanted.map(str::to_owned),
        found,
    })
}

fn instance_extensions_of(entry: &Entry) -> Result<Vec<String>, GuestError> {
    // SAFETY: the library is loaded.
    let extensions = unsafe { entry.enumerate_instance_extension_properties(None) }
        .during("vkEnumerateInstanceExtensionProperties")?;
    Ok(names(&extensions))
}

fn extensions_of(
    instance: &Instance,
    physical: vk::PhysicalDevice,
) -> Result<Vec<String>, GuestError> {
    // SAFETY: the physical device is one of this instance's.
    let extensions = unsafe { instance.enumerate_device_extension_properties(physical) }
        .during("vkEnumerateDeviceExtensionProperties")?;
    Ok(names(&extensions))
}

fn names(extensions: &[vk::ExtensionProperties]) -> Vec<String> {
    extensions
        .iter()
        .filter_map(|extension| extension.extension_name_as_c_str().ok())
        .map(|name| name.to_string_lossy().into_owned())
        .collect()
}

fn contains(advertised: &[String], extension: &CStr) -> bool {
    advertised
        .iter()
        .any(|name| name.as_bytes() == extension.to_bytes())
}

/// Those of the wanted extensions that are advertised, for a create info.
fn enabled(wanted: &[&'static CStr], advertised: &[String]) -> Vec<*const c_char> {
    wanted
        .iter()
        .filter(|extension| contains(advertised, extension))
        .map(|extension| extension.as_ptr())
        .collect()
}

fn name_of(properties: &vk::PhysicalDeviceProperties) -> String {
    properties.device_name_as_c_str().map_or_else(
        |_| "unnamed".to_owned(),
        |name| name.to_string_lossy().into_owned(),
    )
}
