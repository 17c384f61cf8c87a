//! The memory types and heaps of a device.

use coherd_blob::backing::ExportKind;
use coherd_protocol::memory::MemoryProperties;

use crate::logical::LogicalDevice;
use crate::memory::ExportNeed;
use crate::memory::exports::Exports;

/// A memory type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryTypeInfo {
    /// Its place in [`Device::memory_types`](crate::Device::memory_types).
    pub index: u32,
    /// Its place in `VkPhysicalDeviceMemoryProperties`. Types that need features this crate does
    /// not enable, such as protected memory, are not listed.
    pub vulkan_index: u32,
    /// The heap it takes memory from.
    pub heap: u32,
    /// What it can do.
    pub properties: MemoryProperties,
    /// The way in which its memory is exported for [`ExportNeed::Mappable`]; `None` if it cannot
    /// be shared.
    ///
    /// [`ExportNeed::Mappable`]: crate::memory::ExportNeed::Mappable
    pub export: Option<ExportKind>,
}

/// A heap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeapInfo {
    /// Bytes.
    pub size: u64,
    /// Bytes this process may have in all, by VK_EXT_memory_budget or, without it, 80 % of `size`.
    pub budget: u64,
    /// Bytes this process has.
    pub used: u64,
    /// Whether it is memory of the device.
    pub device_local: bool,
}

/// The memory types of `device` that can be used.
pub fn memory_types(device: &LogicalDevice, exports: &Exports) -> Vec<MemoryTypeInfo> {
    device
        .facts()
        .types
        .iter()
        .zip(0..)
        .map(|(ty, index)| MemoryTypeInfo {
            index,
            vulkan_index: ty.index,
            heap: ty.heap,
            properties: ty.properties,
            export: exports.best(ty, ExportNeed::Mappable),
        })
        .collect()
}
