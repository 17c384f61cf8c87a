//! A buffer, which is how the GPU sees an allocation as bytes.

use std::sync::Arc;

use ash::vk;
use coherd_protocol::blob_context::command::BufferUsage;

use crate::error::DeviceError;
use crate::logical::LogicalDevice;

/// What a buffer or an image wants of its memory.
#[derive(Clone, Copy, Debug)]
pub struct Requirements {
    /// Bytes.
    pub size: u64,
    /// A bit for each type it can have.
    pub types: u32,
    /// Whether the memory should be its alone, or has to be.
    pub dedicated: Dedicated,
}

/// Whether memory should be that of one buffer or image alone, by the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dedicated {
    /// It makes no difference.
    Indifferent,
    /// It is better.
    Preferred,
    /// It has to be.
    Required,
}

impl Requirements {
    /// From the driver's answer.
    pub fn new(
        memory: vk::MemoryRequirements,
        dedicated: &vk::MemoryDedicatedRequirements<'_>,
    ) -> Self {
        let dedicated = if dedicated.requires_dedicated_allocation == vk::TRUE {
            Dedicated::Required
        } else if dedicated.prefers_dedicated_allocation == vk::TRUE {
            Dedicated::Preferred
        } else {
            Dedicated::Indifferent
        };
        Self {
            size: memory.size,
            types: memory.memory_type_bits,
            dedicated,
        }
    }
}

/// A buffer without or with memory.
#[derive(Debug)]
pub struct Buffer {
    device: Arc<LogicalDevice>,
    raw: vk::Buffer,
}

impl Buffer {
    /// Creates a buffer of `size` bytes, which are more than none and not more than the device
    /// can have, whose memory will be of `handle_type` (or of none, if empty).
    ///
    /// # Errors
    /// That of vkCreateBuffer.
    pub fn new(
        device: &Arc<LogicalDevice>,
        size: u64,
        usage: vk::BufferUsageFlags,
        handle_type: vk::ExternalMemoryHandleTypeFlags,
    ) -> Result<Self, DeviceError> {
        let mut external = vk::ExternalMemoryBufferCreateInfo::default().handle_types(handle_type);
        let mut info = vk::BufferCreateInfo::default()
            .size(size)
            .usage(usage)
            .sharing_mode(vk::SharingMode::EXCLUSIVE);
        if !handle_type.is_empty() {
            info = info.push_next(&mut external);
        }
        // SAFETY: the size is checked by callers (VUID-VkBufferCreateInfo-size-00912,
        // VUID-VkBufferCreateInfo-size-06409), the handle type is one the device can export or
        // import (VUID-VkBufferCreateInfo-pNext-00920), and the chain lives through the call.
        let raw = device.outcome("vkCreateBuffer", unsafe {
            device.raw().create_buffer(&info, None)
        })?;
        Ok(Self {
            device: device.clone(),
            raw,
        })
    }

    /// The handle.
    pub fn raw(&self) -> vk::Buffer {
        self.raw
    }

    /// What it wants of its memory.
    pub fn requirements(&self) -> Requirements {
        let info = vk::BufferMemoryRequirementsInfo2::default().buffer(self.raw);
        let mut dedicated = vk::MemoryDedicatedRequirements::default();
        let mut requirements = vk::MemoryRequirements2::default().push_next(&mut dedicated);
        // SAFETY: the buffer is alive and the chains live through the call.
        unsafe {
            self.device
                .raw()
                .get_buffer_memory_requirements2(&info, &mut requirements);
        }
        let memory = requirements.memory_requirements;
        Requirements::new(memory, &dedicated)
    }

    /// Binds the buffer to the start of `memory`, once.
    ///
    /// # Errors
    /// That of vkBindBufferMemory.
    ///
    /// # Safety
    /// The memory is of a type, a size and a handle type that the buffer can have, dedicated to it
    /// or to nobody (VUID-vkBindBufferMemory-memory-01035, -size-01037, -memory-02726,
    /// -memory-02985, -memory-01508), and freed after it.
    pub unsafe fn bind(&self, memory: vk::DeviceMemory) -> Result<(), DeviceError> {
        // SAFETY: the caller keeps the rules; offset 0 is aligned
        // (VUID-vkBindBufferMemory-memoryOffset-01036).
        self.device.outcome("vkBindBufferMemory", unsafe {
            self.device.raw().bind_buffer_memory(self.raw, memory, 0)
        })
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: what the GPU still uses is kept by the queue
        // (VUID-vkDestroyBuffer-buffer-00922).
        unsafe { self.device.raw().destroy_buffer(self.raw, None) };
    }
}

/// The usage for Vulkan: that which was asked for, and copies and fills.
pub fn usage_flags(usage: BufferUsage) -> vk::BufferUsageFlags {
    const FLAGS: [(BufferUsage, vk::BufferUsageFlags); 4] = [
        (BufferUsage::STORAGE, vk::BufferUsageFlags::STORAGE_BUFFER),
        (BufferUsage::UNIFORM, vk::BufferUsageFlags::UNIFORM_BUFFER),
        (BufferUsage::VERTEX, vk::BufferUsageFlags::VERTEX_BUFFER),
        (BufferUsage::INDEX, vk::BufferUsageFlags::INDEX_BUFFER),
    ];
    FLAGS
        .into_iter()
        .filter(|(bit, _)| usage.contains(*bit))
        .fold(TRANSFERS, |flags, (_, flag)| flags | flag)
}

/// The usage of copies and fills.
pub const TRANSFERS: vk::BufferUsageFlags = vk::BufferUsageFlags::from_raw(
    vk::BufferUsageFlags::TRANSFER_SRC.as_raw() | vk::BufferUsageFlags::TRANSFER_DST.as_raw(),
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_usage_has_its_flag_and_copies() {
        let flags = usage_flags(BufferUsage::all());
        assert!(flags.contains(TRANSFERS));
        assert_eq!(flags.as_raw().count_ones(), 6);
        assert!(usage_flags(BufferUsage::empty()) == TRANSFERS);
    }
}
