//! Recording and running commands, one submission at a time.

use ash::{Device, vk};

use super::error::{During, GuestError};
use super::gpu::Gpu;

/// What a submission waits for and signals besides its fence.
#[derive(Clone, Copy, Debug, Default)]
pub struct Semaphores {
    /// Waited for before any command.
    pub wait: Option<vk::Semaphore>,
    /// Signalled after every command.
    pub signal: Option<vk::Semaphore>,
}

/// A command buffer that is recorded, submitted and waited for.
#[derive(Debug)]
pub struct Commands<'g> {
    gpu: &'g Gpu,
    pool: vk::CommandPool,
    buffer: vk::CommandBuffer,
    fence: vk::Fence,
}

impl<'g> Commands<'g> {
    /// Makes the command buffer and its fence.
    pub fn new(gpu: &'g Gpu) -> Result<Self, GuestError> {
        let device = gpu.device();
        let info = vk::CommandPoolCreateInfo::default()
            .queue_family_index(gpu.queue_family())
            .flags(vk::CommandPoolCreateFlags::TRANSIENT);
        // SAFETY: the family is the one the device was made with.
        let pool =
            unsafe { device.create_command_pool(&info, None) }.during("vkCreateCommandPool")?;
        let mut commands = Self {
            gpu,
            pool,
            buffer: vk::CommandBuffer::null(),
            fence: vk::Fence::null(),
        };
        let info = vk::CommandBufferAllocateInfo::default()
            .command_pool(pool)
            .command_buffer_count(1);
        // SAFETY: the pool is alive and used by this thread alone.
        let buffers =
            unsafe { device.allocate_command_buffers(&info) }.during("vkAllocateCommandBuffers")?;
        commands.buffer = buffers.first().copied().unwrap_or_default();
        // SAFETY: the structure lives until the call returns.
        commands.fence = unsafe { device.create_fence(&vk::FenceCreateInfo::default(), None) }
            .during("vkCreateFence")?;
        Ok(commands)
    }

    /// Records commands, submits them and waits until the device has done them.
    ///
    /// What the device wrote is then visible to the CPU, apart from the invalidation that memory
    /// without coherence needs; `record` need not add a barrier for the host.
    pub fn run(&self, record: impl FnOnce(&Device, vk::CommandBuffer)) -> Result<(), GuestError> {
        self.run_between(Semaphores::default(), record)
    }

    /// As [`Self::run`], between two semaphores: the first must have a signal pending that nothing
    /// else waits for, the second must be unsignalled and waited for by nothing.
    pub fn run_between(
        &self,
        semaphores: Semaphores,
        record: impl FnOnce(&Device, vk::CommandBuffer),
    ) -> Result<(), GuestError> {
        self.record(record)?;
        self.submit(semaphores, self.fence)?;
        self.wait()
    }

    /// As [`Self::run`], but does not wait. `fence` must be unsignalled and in no queue, and nothing
    /// more may be run or started before it was seen signalled.
    pub fn start(
        &self,
        fence: vk::Fence,
        record: impl FnOnce(&Device, vk::CommandBuffer),
    ) -> Result<(), GuestError> {
        self.record(record)?;
        self.submit(Semaphores::default(), fence)
    }

    fn record(&self, record: impl FnOnce(&Device, vk::CommandBuffer)) -> Result<(), GuestError> {
        let device = self.gpu.device();
        let begin = vk::CommandBufferBeginInfo::default()
            .flags(vk::CommandBufferUsageFlags::ONE_TIME_SUBMIT);
        // SAFETY: the last submission was waited for, so the pool may be reset
        // (VUID-vkResetCommandPool-commandPool-00040) and the buffer recorded anew.
        unsafe {
            device
                .reset_command_pool(self.pool, vk::CommandPoolResetFlags::empty())
                .during("vkResetCommandPool")?;
            device
                .begin_command_buffer(self.buffer, &begin)
                .during("vkBeginCommandBuffer")?;
        }
        record(device, self.buffer);
        self.host_barrier();
        // SAFETY: the buffer is being recorded, outside a render pass.
        unsafe { device.end_command_buffer(self.buffer) }.during("vkEndCommandBuffer")
    }

    /// A fence alone does not make device writes available to the host domain.
    fn host_barrier(&self) {
        let barrier = vk::MemoryBarrier::default()
            .src_access_mask(vk::AccessFlags::MEMORY_WRITE)
            .dst_access_mask(vk::AccessFlags::HOST_READ);
        // SAFETY: the buffer is being recorded.
        unsafe {
            self.gpu.device().cmd_pipeline_barrier(
                self.buffer,
                vk::PipelineStageFlags::ALL_COMMANDS,
                vk::PipelineStageFlags::HOST,
                vk::DependencyFlags::empty(),
                &[barrier],
                &[],
                &[],
            );
        }
    }

    fn submit(&self, semaphores: Semaphores, fence: vk::Fence) -> Result<(), GuestError> {
        let buffers = [self.buffer];
        let stages = [vk::PipelineStageFlags::ALL_COMMANDS];
        let waits = semaphores.wait.as_slice();
        let submits = [vk::SubmitInfo::default()
            .command_buffers(&buffers)
            .wait_semaphores(waits)
            .wait_dst_stage_mask(&stages[..waits.len()])
            .signal_semaphores(semaphores.signal.as_slice())];
        // SAFETY: the command buffer is executable; the caller vouches for the fence
        // (VUID-vkQueueSubmit-fence-00063, -00064) and the semaphores
        // (VUID-vkQueueSubmit-pWaitSemaphores-03238, VUID-vkQueueSubmit-pSignalSemaphores-00067).
        unsafe {
            self.gpu
                .device()
                .queue_submit(self.gpu.queue(), &submits, fence)
        }
        .during("vkQueueSubmit")
    }

    fn wait(&self) -> Result<(), GuestError> {
        let device = self.gpu.device();
        let fences = [self.fence];
        // SAFETY: the fence was submitted, and is in no queue once it is signalled.
        unsafe {
            device
                .wait_for_fences(&fences, true, u64::MAX)
                .during("vkWaitForFences")?;
            device.reset_fences(&fences).during("vkResetFences")
        }
    }
}

impl Drop for Commands<'_> {
    fn drop(&mut self) {
        // SAFETY: a failed wait can leave work behind, so the queue drains first; a null fence is
        // ignored, and the command buffer goes with its pool.
        unsafe {
            let _ = self.gpu.device().queue_wait_idle(self.gpu.queue());
            self.gpu.device().destroy_fence(self.fence, None);
            self.gpu.device().destroy_command_pool(self.pool, None);
        }
    }
}

/// A dependency on everything an earlier stage wrote.
pub fn memory_barrier(
    device: &Device,
    commands: vk::CommandBuffer,
    from: (vk::PipelineStageFlags, vk::AccessFlags),
    to: (vk::PipelineStageFlags, vk::AccessFlags),
) {
    let barrier = vk::MemoryBarrier::default()
        .src_access_mask(from.1)
        .dst_access_mask(to.1);
    // SAFETY: the caller is recording this command buffer outside a render pass.
    unsafe {
        device.cmd_pipeline_barrier(
            commands,
            from.0,
            to.0,
            vk::DependencyFlags::empty(),
            &[barrier],
            &[],
            &[],
        );
    }
}
