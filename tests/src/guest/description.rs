//! What a device says about itself, for reports.

use ash::{khr, vk};
use serde_json::{Value, json};

use super::gpu::Gpu;

/// A device's identity and memory types.
#[derive(Clone, Debug)]
pub struct DeviceDescription {
    /// `deviceName`.
    pub name: String,
    /// `deviceType`, for example `CPU`.
    pub device_type: String,
    /// `apiVersion` as `major.minor.patch`.
    pub api_version: String,
    /// `driverName`; empty where the driver does not say.
    pub driver_name: String,
    /// `driverInfo`; empty where the driver does not say.
    pub driver_info: String,
    /// The memory types, in the driver's order.
    pub memory_types: Vec<MemoryTypeDescription>,
}

/// One memory type.
#[derive(Clone, Debug)]
pub struct MemoryTypeDescription {
    /// Index of the type.
    pub index: u32,
    /// Index of its heap.
    pub heap: u32,
    /// Names of its property flags, for example `HOST_VISIBLE`.
    pub properties: Vec<String>,
}

impl DeviceDescription {
    /// Asks an open device.
    #[must_use]
    pub fn of(gpu: &Gpu) -> Self {
        let properties = gpu.properties();
        let (driver_name, driver_info) = driver(gpu);
        Self {
            name: gpu.name(),
            device_type: format!("{:?}", properties.device_type),
            api_version: version(properties.api_version),
            driver_name,
            driver_info,
            memory_types: (0..).zip(gpu.memory_types()).map(describe_type).collect(),
        }
    }

    /// The description as JSON.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "name": self.name,
            "type": self.device_type,
            "api_version": self.api_version,
            "driver_name": self.driver_name,
            "driver_info": self.driver_info,
            "memory_types": self.memory_types.iter().map(|memory_type| json!({
                "index": memory_type.index,
                "heap": memory_type.heap,
                "properties": memory_type.properties,
            })).collect::<Vec<_>>(),
        })
    }
}

fn describe_type((index, memory_type): (u32, &vk::MemoryType)) -> MemoryTypeDescription {
    MemoryTypeDescription {
        index,
        heap: memory_type.heap_index,
        properties: flag_names(memory_type.property_flags),
    }
}

/// The names of a set of flags, without the empty name of the empty set.
fn flag_names(flags: vk::MemoryPropertyFlags) -> Vec<String> {
    format!("{flags:?}")
        .split(" | ")
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

fn version(packed: u32) -> String {
    format!(
        "{}.{}.{}",
        vk::api_version_major(packed),
        vk::api_version_minor(packed),
        vk::api_version_patch(packed)
    )
}

fn driver(gpu: &Gpu) -> (String, String) {
    // The structure is core in 1.2 only, so a 1.1 instance may ask with the extension alone.
    if !gpu.advertises(khr::driver_properties::NAME) {
        return (String::new(), String::new());
    }
    let mut driver = vk::PhysicalDeviceDriverProperties::default();
    let mut properties = vk::PhysicalDeviceProperties2::default().push_next(&mut driver);
    // SAFETY: the physical device belongs to the instance and knows the chained structure.
    unsafe {
        gpu.instance()
            .get_physical_device_properties2(gpu.physical(), &mut properties);
    };
    let text = |name: Result<&std::ffi::CStr, _>| {
        name.map_or_else(
            |_| String::new(),
            |name| name.to_string_lossy().into_owned(),
        )
    };
    (
        text(driver.driver_name_as_c_str()),
        text(driver.driver_info_as_c_str()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flag_names_of_two_flags_are_the_vulkan_names() {
        let flags = vk::MemoryPropertyFlags::HOST_VISIBLE | vk::MemoryPropertyFlags::HOST_COHERENT;
        assert_eq!(flag_names(flags), ["HOST_VISIBLE", "HOST_COHERENT"]);
    }

    #[test]
    fn flag_names_of_no_flags_are_none() {
        assert!(flag_names(vk::MemoryPropertyFlags::empty()).is_empty());
    }

    #[test]
    fn version_of_packed_number_reads_as_text() {
        assert_eq!(version(vk::make_api_version(0, 1, 4, 334)), "1.4.334");
    }
}
