//! What the GPU is told to do.

use std::sync::Arc;

use ash::vk;

use crate::extensions::Extensions;
use crate::logical::LogicalDevice;
use crate::memory::{Buffer, Memory};
use crate::transfer::TransferError;

/// A transfer whose ranges are checked.
pub enum Work {
    /// Copy bytes.
    Copy {
        /// From here.
        source: Arc<Memory>,
        /// To there.
        destination: Arc<Memory>,
        /// Where and how many.
        region: vk::BufferCopy,
    },
    /// Write a word again and again.
    Fill {
        /// There.
        destination: Arc<Memory>,
        /// First byte.
        offset: u64,
        /// Bytes.
        size: u64,
        /// The word.
        value: u32,
    },
}

impl Work {
    /// Memory that is used.
    pub fn memory(&self) -> impl Iterator<Item = &Arc<Memory>> {
        let (first, second) = match self {
            Self::Copy {
                source,
                destination,
                ..
            } => {
                let same = Arc::ptr_eq(source, destination);
                (destination, (!same).then_some(source))
            }
            Self::Fill { destination, .. } => (destination, None),
        };
        std::iter::once(first).chain(second)
    }

    /// Records the transfer.
    ///
    /// # Errors
    /// Those of the calls; the command buffer is of no use then.
    ///
    /// # Safety
    /// Nobody else uses the command buffer or its pool, and it is in the initial state or can be
    /// reset. The memory lives until the GPU is done.
    pub unsafe fn record(
        &self,
        device: &LogicalDevice,
        commands: vk::CommandBuffer,
    ) -> Result<(), TransferError> {
        let raw = device.raw();
        let begin = vk::CommandBufferBeginInfo::default()
            .flags(vk::CommandBufferUsageFlags::ONE_TIME_SUBMIT);
        // SAFETY: by the caller (VUID-vkBeginCommandBuffer-commandBuffer-00049, -00050).
        device.outcome("vkBeginCommandBuffer", unsafe {
            raw.begin_command_buffer(commands, &begin)
        })?;
        // SAFETY: the buffer is being recorded.
        unsafe { self.before(device, commands) };
        // SAFETY: as above; ranges and usages of the buffers are checked, see `transfer::check`.
        unsafe { self.transfer(raw, commands) }?;
        // SAFETY: as above.
        unsafe { self.after(device, commands) };
        // SAFETY: as above.
        device.outcome("vkEndCommandBuffer", unsafe {
            raw.end_command_buffer(commands)
        })?;
        Ok(())
    }

    unsafe fn transfer(
        &self,
        raw: &ash::Device,
        commands: vk::CommandBuffer,
    ) -> Result<(), TransferError> {
        match self {
            Self::Copy {
                source,
                destination,
                region,
            } => {
                let source = buffer(source)?.raw();
                let destination = buffer(destination)?.raw();
                // SAFETY: by the caller (VUID-vkCmdCopyBuffer-srcOffset-00113, -dstOffset-00114,
                // -size-00115, -size-00116, -pRegions-00117, VUID-VkBufferCopy-size-01988).
                unsafe { raw.cmd_copy_buffer(commands, source, destination, &[*region]) };
            }
            Self::Fill {
                destination,
                offset,
                size,
                value,
            } => {
                let destination = buffer(destination)?.raw();
                // SAFETY: by the caller (VUID-vkCmdFillBuffer-dstOffset-00024, -00025,
                // -size-00026, -00027, -00028).
                unsafe { raw.cmd_fill_buffer(commands, destination, *offset, *size, *value) };
            }
        }
        Ok(())
    }

    /// Earlier transfers come first, and memory that others use is taken over from them. What the
    /// CPU wrote is visible by the submission itself.
    unsafe fn before(&self, device: &LogicalDevice, commands: vk::CommandBuffer) {
        let all = vk::AccessFlags::TRANSFER_READ | vk::AccessFlags::TRANSFER_WRITE;
        let earlier = [vk::MemoryBarrier::default()
            .src_access_mask(vk::AccessFlags::TRANSFER_WRITE)
            .dst_access_mask(all)];
        let taken = self.owners(|barrier| {
            barrier
                .src_queue_family_index(foreign_family(device))
                .dst_queue_family_index(device.family())
                .dst_access_mask(all)
        });
        // SAFETY: by the caller; the queue can transfer, and families are its own and that of
        // others (VUID-VkBufferMemoryBarrier-buffer-09095, -09096,
        // -srcQueueFamilyIndex-09099).
        unsafe {
            device.raw().cmd_pipeline_barrier(
                commands,
                vk::PipelineStageFlags::TRANSFER,
                vk::PipelineStageFlags::TRANSFER,
                vk::DependencyFlags::empty(),
                &earlier,
                &taken,
                &[],
            );
        }
    }

    /// What the GPU wrote becomes visible to the CPU, and memory that others use is given back.
    /// These are two barriers, since the stage of the host and changes of ownership do not go
    /// together (VUID-vkCmdPipelineBarrier-srcStageMask-09634).
    unsafe fn after(&self, device: &LogicalDevice, commands: vk::CommandBuffer) {
        let host = [vk::MemoryBarrier::default()
            .src_access_mask(vk::AccessFlags::TRANSFER_WRITE)
            .dst_access_mask(vk::AccessFlags::HOST_READ | vk::AccessFlags::HOST_WRITE)];
        let given = self.owners(|barrier| {
            barrier
                .src_queue_family_index(device.family())
                .dst_queue_family_index(foreign_family(device))
                .src_access_mask(vk::AccessFlags::TRANSFER_WRITE)
        });
        let barrier = |stage, memory: &[_], buffers: &[_]| {
            // SAFETY: as in `before`.
            unsafe {
                device.raw().cmd_pipeline_barrier(
                    commands,
                    vk::PipelineStageFlags::TRANSFER,
                    stage,
                    vk::DependencyFlags::empty(),
                    memory,
                    buffers,
                    &[],
                );
            }
        };
        barrier(vk::PipelineStageFlags::HOST, &host, &[]);
        if !given.is_empty() {
            barrier(vk::PipelineStageFlags::BOTTOM_OF_PIPE, &[], &given);
        }
    }

    fn owners(
        &self,
        change: impl Fn(vk::BufferMemoryBarrier<'static>) -> vk::BufferMemoryBarrier<'static>,
    ) -> Vec<vk::BufferMemoryBarrier<'static>> {
        self.memory()
            .filter(|memory| memory.foreign())
            .filter_map(|memory| memory.buffer())
            .map(|buffer| {
                let barrier = vk::BufferMemoryBarrier::default()
                    .buffer(buffer.raw())
                    .offset(0)
                    .size(vk::WHOLE_SIZE);
                change(barrier)
            })
            .collect()
    }
}

/// The buffer of `memory`.
///
/// # Errors
/// [`TransferError::Unsupported`].
pub fn buffer(memory: &Memory) -> Result<&Buffer, TransferError> {
    memory.buffer().ok_or(TransferError::Unsupported)
}

/// The family others' accesses belong to.
fn foreign_family(device: &LogicalDevice) -> u32 {
    if device.has(Extensions::FOREIGN) {
        vk::QUEUE_FAMILY_FOREIGN_EXT
    } else {
        vk::QUEUE_FAMILY_EXTERNAL
    }
}
