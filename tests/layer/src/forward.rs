//! Fallible commands that the layer only counts, and fails where a fault is due.

use core::ffi::{CStr, c_int, c_void};

use ash::vk;

use crate::dispatch;

/// A command's name as the driver spells it.
macro_rules! name {
    ($name:literal) => {
        const {
            match CStr::from_bytes_with_nul(concat!($name, "\0").as_bytes()) {
                Ok(name) => name,
                Err(_) => panic!("a name holds no nul"),
            }
        }
    };
}
pub(crate) use name;

/// Writes the functions: for each where the next entity's is, its names, and its parameters.
macro_rules! forward {
    ($(
        $table:ident.$function:ident: $name:literal $(| $alias:literal)*
        ($first:ident: $handle:ty $(, $parameter:ident: $type:ty)*);
    )*) => {
        $(
            unsafe extern "system" fn $function(
                $first: $handle
                $(, $parameter: $type)*
            ) -> vk::Result {
                // SAFETY: the first parameter of a command is a live handle.
                let Some(next) = (unsafe { dispatch::device(&$first) }) else {
                    return vk::Result::ERROR_UNKNOWN;
                };
                if let Err(fault) = next.admit(name!($name)) {
                    return fault;
                }
                // SAFETY: the next entity gets what this one got.
                unsafe { (next.functions.$table.$function)($first $(, $parameter)*) }
            }
        )*

        /// The layer's function for a command.
        pub fn command(name: &str) -> Option<*const ()> {
            Some(match name {
                $($name $(| $alias)* => $function as *const (),)*
                _ => return None,
            })
        }
    };
}

forward! {
    v1_0.bind_buffer_memory: "vkBindBufferMemory"
        (device: vk::Device, buffer: vk::Buffer, memory: vk::DeviceMemory, offset: u64);
    v1_0.bind_image_memory: "vkBindImageMemory"
        (device: vk::Device, image: vk::Image, memory: vk::DeviceMemory, offset: u64);
    v1_1.bind_buffer_memory2: "vkBindBufferMemory2" | "vkBindBufferMemory2KHR"
        (device: vk::Device, count: u32, infos: *const vk::BindBufferMemoryInfo<'_>);
    v1_1.bind_image_memory2: "vkBindImageMemory2" | "vkBindImageMemory2KHR"
        (device: vk::Device, count: u32, infos: *const vk::BindImageMemoryInfo<'_>);

    v1_0.allocate_command_buffers: "vkAllocateCommandBuffers"
        (device: vk::Device, info: *const vk::CommandBufferAllocateInfo<'_>,
         buffers: *mut vk::CommandBuffer);
    v1_0.reset_command_pool: "vkResetCommandPool"
        (device: vk::Device, pool: vk::CommandPool, flags: vk::CommandPoolResetFlags);
    v1_0.begin_command_buffer: "vkBeginCommandBuffer"
        (buffer: vk::CommandBuffer, info: *const vk::CommandBufferBeginInfo<'_>);
    v1_0.end_command_buffer: "vkEndCommandBuffer" (buffer: vk::CommandBuffer);
    v1_0.reset_command_buffer: "vkResetCommandBuffer"
        (buffer: vk::CommandBuffer, flags: vk::CommandBufferResetFlags);
    v1_0.allocate_descriptor_sets: "vkAllocateDescriptorSets"
        (device: vk::Device, info: *const vk::DescriptorSetAllocateInfo<'_>,
         sets: *mut vk::DescriptorSet);

    v1_0.queue_submit: "vkQueueSubmit"
        (queue: vk::Queue, count: u32, submits: *const vk::SubmitInfo<'_>, fence: vk::Fence);
    v1_3.queue_submit2: "vkQueueSubmit2" | "vkQueueSubmit2KHR"
        (queue: vk::Queue, count: u32, submits: *const vk::SubmitInfo2<'_>, fence: vk::Fence);
    v1_0.queue_bind_sparse: "vkQueueBindSparse"
        (queue: vk::Queue, count: u32, infos: *const vk::BindSparseInfo<'_>, fence: vk::Fence);
    v1_0.queue_wait_idle: "vkQueueWaitIdle" (queue: vk::Queue);
    v1_0.device_wait_idle: "vkDeviceWaitIdle" (device: vk::Device);

    v1_0.reset_fences: "vkResetFences"
        (device: vk::Device, count: u32, fences: *const vk::Fence);
    v1_0.get_fence_status: "vkGetFenceStatus" (device: vk::Device, fence: vk::Fence);
    v1_0.wait_for_fences: "vkWaitForFences"
        (device: vk::Device, count: u32, fences: *const vk::Fence, all: vk::Bool32, timeout: u64);
    external_fence_fd.get_fence_fd_khr: "vkGetFenceFdKHR"
        (device: vk::Device, info: *const vk::FenceGetFdInfoKHR<'_>, fd: *mut c_int);
    external_fence_fd.import_fence_fd_khr: "vkImportFenceFdKHR"
        (device: vk::Device, info: *const vk::ImportFenceFdInfoKHR<'_>);

    v1_2.get_semaphore_counter_value:
        "vkGetSemaphoreCounterValue" | "vkGetSemaphoreCounterValueKHR"
        (device: vk::Device, semaphore: vk::Semaphore, value: *mut u64);
    v1_2.wait_semaphores: "vkWaitSemaphores" | "vkWaitSemaphoresKHR"
        (device: vk::Device, info: *const vk::SemaphoreWaitInfo<'_>, timeout: u64);
    v1_2.signal_semaphore: "vkSignalSemaphore" | "vkSignalSemaphoreKHR"
        (device: vk::Device, info: *const vk::SemaphoreSignalInfo<'_>);
    external_semaphore_fd.get_semaphore_fd_khr: "vkGetSemaphoreFdKHR"
        (device: vk::Device, info: *const vk::SemaphoreGetFdInfoKHR<'_>, fd: *mut c_int);
    external_semaphore_fd.import_semaphore_fd_khr: "vkImportSemaphoreFdKHR"
        (device: vk::Device, info: *const vk::ImportSemaphoreFdInfoKHR<'_>);

    v1_0.get_query_pool_results: "vkGetQueryPoolResults"
        (device: vk::Device, pool: vk::QueryPool, first: u32, count: u32, size: usize,
         data: *mut c_void, stride: u64, flags: vk::QueryResultFlags);
}
