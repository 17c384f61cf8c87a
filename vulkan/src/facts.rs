//! What a physical device can do, asked once.

use ash::vk;
use coherd_protocol::memory::MemoryProperties;

use crate::extensions::Extensions;
use crate::external::exports_sync_files;

/// A memory type as the driver lists it.
#[derive(Clone, Copy, Debug)]
pub struct TypeFacts {
    /// Its index for Vulkan.
    pub index: u32,
    /// The heap it takes memory from.
    pub heap: u32,
    /// What it can do.
    pub properties: MemoryProperties,
}

/// A heap as the driver lists it.
#[derive(Clone, Copy, Debug)]
pub struct HeapFacts {
    /// Bytes.
    pub size: u64,
    /// Whether it is memory of the device.
    pub device_local: bool,
}

/// See the module's description.
#[derive(Debug)]
pub struct Facts {
    /// The extensions that are used.
    pub extensions: Extensions,
    /// The memory types that can be used.
    pub types: Vec<TypeFacts>,
    /// The heaps.
    pub heaps: Vec<HeapFacts>,
    /// `nonCoherentAtomSize`, a power of two.
    pub atom_size: u64,
    /// `maxMemoryAllocationCount`
    pub max_allocations: u32,
    /// The largest allocation with a buffer over all of it, in bytes.
    pub max_allocation_size: u64,
    /// `maxImageDimension2D`
    pub max_image_dimension: u32,
    /// `minImportedHostPointerAlignment`, a power of two, with VK_EXT_external_memory_host.
    pub host_alignment: u64,
    /// Whether binary semaphores can be exported as sync files.
    pub sync_files: bool,
}

impl Facts {
    /// Asks `device`, of which `extensions` may be used.
    pub fn of(
        instance: &ash::Instance,
        device: vk::PhysicalDevice,
        mut extensions: Extensions,
    ) -> Self {
        let mut maintenance3 = vk::PhysicalDeviceMaintenance3Properties::default();
        let mut host = vk::PhysicalDeviceExternalMemoryHostPropertiesEXT::default();
        let mut maintenance4 = vk::PhysicalDeviceMaintenance4Properties::default();
        let mut all = vk::PhysicalDeviceProperties2::default().push_next(&mut maintenance3);
        if extensions.contains(Extensions::HOST_MEMORY) {
            all = all.push_next(&mut host);
        }
        if extensions.contains(Extensions::MAINTENANCE_4) {
            all = all.push_next(&mut maintenance4);
        }
        // SAFETY: the device is Vulkan 1.1, each structure of the chain is one of the device's
        // (VUID-VkPhysicalDeviceProperties2-pNext-pNext), and the chain lives through the call.
        unsafe { instance.get_physical_device_properties2(device, &mut all) };
        let limits = all.properties.limits;
        if !has_timelines(instance, device, extensions) {
            extensions.remove(Extensions::TIMELINE);
        }
        let max_buffer_size = match maintenance4.max_buffer_size {
            0 => u64::MAX,
            size => size,
        };
        // SAFETY: the device is one of the live instance.
        let memory = unsafe { instance.get_physical_device_memory_properties(device) };
        Self {
            extensions,
            types: types(&memory),
            heaps: heaps(&memory),
            atom_size: limits.non_coherent_atom_size.max(1),
            max_allocations: limits.max_memory_allocation_count,
            max_allocation_size: maintenance3.max_memory_allocation_size.min(max_buffer_size),
            max_image_dimension: limits.max_image_dimension2_d,
            host_alignment: host.min_imported_host_pointer_alignment.max(1),
            sync_files: extensions.contains(Extensions::SEMAPHORE_FD)
                && exports_sync_files(instance, device),
        }
    }
}

fn has_timelines(
    instance: &ash::Instance,
    device: vk::PhysicalDevice,
    extensions: Extensions,
) -> bool {
    if !extensions.contains(Extensions::TIMELINE) {
        return false;
    }
    let mut timeline = vk::PhysicalDeviceTimelineSemaphoreFeatures::default();
    let mut features = vk::PhysicalDeviceFeatures2::default().push_next(&mut timeline);
    // SAFETY: the device is Vulkan 1.1 and has VK_KHR_timeline_semaphore; the chain lives through
    // the call.
    unsafe { instance.get_physical_device_features2(device, &mut features) };
    timeline.timeline_semaphore == vk::TRUE
}

/// The types without properties that need a feature which is not enabled
/// (VUID-VkMemoryAllocateInfo-memoryTypeIndex-01872,
/// VUID-vkAllocateMemory-deviceCoherentMemory-02790), or that buffers cannot have.
fn types(memory: &vk::PhysicalDeviceMemoryProperties) -> Vec<TypeFacts> {
    let known = vk::MemoryPropertyFlags::from_raw(MemoryProperties::all().bits());
    memory
        .memory_types_as_slice()
        .iter()
        .zip(0..)
        .filter(|(ty, _)| known.contains(ty.property_flags))
        .map(|(ty, index)| TypeFacts {
            index,
            heap: ty.heap_index,
            properties: MemoryProperties::from_bits_truncate(ty.property_flags.as_raw()),
        })
        .collect()
}

fn heaps(memory: &vk::PhysicalDeviceMemoryProperties) -> Vec<HeapFacts> {
    memory
        .memory_heaps_as_slice()
        .iter()
        .map(|heap| HeapFacts {
            size: heap.size,
            device_local: heap.flags.contains(vk::MemoryHeapFlags::DEVICE_LOCAL),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_that_need_features_are_left_out_and_others_keep_their_index() {
        let flags = [
            vk::MemoryPropertyFlags::DEVICE_LOCAL,
            vk::MemoryPropertyFlags::DEVICE_LOCAL | vk::MemoryPropertyFlags::PROTECTED,
            vk::MemoryPropertyFlags::HOST_VISIBLE | vk::MemoryPropertyFlags::DEVICE_COHERENT_AMD,
            vk::MemoryPropertyFlags::HOST_VISIBLE | vk::MemoryPropertyFlags::HOST_CACHED,
        ];
        let mut memory = vk::PhysicalDeviceMemoryProperties {
            memory_type_count: 4,
            ..Default::default()
        };
        for (ty, property_flags) in memory.memory_types.iter_mut().zip(flags) {
            ty.property_flags = property_flags;
        }

        let usable = types(&memory);

        assert_eq!(usable.iter().map(|ty| ty.index).collect::<Vec<_>>(), [0, 3]);
        assert_eq!(
            usable[1].properties,
            MemoryProperties::HOST_VISIBLE | MemoryProperties::HOST_CACHED
        );
    }
}
