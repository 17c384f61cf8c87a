//! What drivers say about sharing.

use ash::vk;

/// What can be done with buffers of `usage` whose memory is of `handle_type`, of which the device
/// has the extension (VUID-VkPhysicalDeviceExternalBufferInfo-handleType-parameter).
pub fn external_buffers(
    instance: &ash::Instance,
    device: vk::PhysicalDevice,
    handle_type: vk::ExternalMemoryHandleTypeFlags,
    usage: vk::BufferUsageFlags,
) -> vk::ExternalMemoryFeatureFlags {
    let info = vk::PhysicalDeviceExternalBufferInfo::default()
        .usage(usage)
        .handle_type(handle_type);
    let mut properties = vk::ExternalBufferProperties::default();
    // SAFETY: the device is Vulkan 1.1 and both structures live through the call.
    unsafe {
        instance.get_physical_device_external_buffer_properties(device, &info, &mut properties);
    }
    properties
        .external_memory_properties
        .external_memory_features
}

/// Whether binary semaphores can be exported as sync files. The device has
/// VK_KHR_external_semaphore_fd.
pub fn exports_sync_files(instance: &ash::Instance, device: vk::PhysicalDevice) -> bool {
    let info = vk::PhysicalDeviceExternalSemaphoreInfo::default()
        .handle_type(vk::ExternalSemaphoreHandleTypeFlags::SYNC_FD);
    let mut properties = vk::ExternalSemaphoreProperties::default();
    // SAFETY: the device is Vulkan 1.1 and both structures live through the call.
    unsafe {
        instance.get_physical_device_external_semaphore_properties(device, &info, &mut properties);
    }
    properties
        .external_semaphore_features
        .contains(vk::ExternalSemaphoreFeatureFlags::EXPORTABLE)
}
