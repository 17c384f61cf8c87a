//! Buffers, alone and together with memory the CPU sees.

use ash::vk;

use super::error::{During, GuestError};
use super::gpu::Gpu;
use super::memory::{Memory, MemoryWish};

/// A buffer without memory of its own.
#[derive(Debug)]
pub struct Buffer<'g> {
    gpu: &'g Gpu,
    handle: vk::Buffer,
    size: u64,
}

impl<'g> Buffer<'g> {
    /// Creates a buffer.
    pub fn new(gpu: &'g Gpu, size: u64, usage: vk::BufferUsageFlags) -> Result<Self, GuestError> {
        Self::new_with(
            gpu,
            &vk::BufferCreateInfo::default().size(size).usage(usage),
        )
    }

    /// Creates a buffer as a structure, with what is chained to it, says.
    pub fn new_with(gpu: &'g Gpu, info: &vk::BufferCreateInfo<'_>) -> Result<Self, GuestError> {
        // SAFETY: the structure and its chain live until the call returns.
        let handle = unsafe { gpu.device().create_buffer(info, None) }.during("vkCreateBuffer")?;
        Ok(Self {
            gpu,
            handle,
            size: info.size,
        })
    }

    /// What memory the buffer needs.
    pub fn requirements(&self) -> vk::MemoryRequirements {
        // SAFETY: the buffer is alive.
        unsafe {
            self.gpu
                .device()
                .get_buffer_memory_requirements(self.handle)
        }
    }

    /// Binds the start of some memory, once.
    pub fn bind(&self, memory: &Memory<'_>) -> Result<(), GuestError> {
        // SAFETY: callers allocate for this buffer's requirements and bind once
        // (VUID-vkBindBufferMemory-buffer-07459, VUID-vkBindBufferMemory-memory-01035).
        unsafe {
            self.gpu
                .device()
                .bind_buffer_memory(self.handle, memory.handle(), 0)
        }
        .during("vkBindBufferMemory")
    }

    /// The handle.
    #[must_use]
    pub fn handle(&self) -> vk::Buffer {
        self.handle
    }

    /// The size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }
}

impl Drop for Buffer<'_> {
    fn drop(&mut self) {
        // SAFETY: every submission is waited for, so no command uses the buffer any more.
        unsafe { self.gpu.device().destroy_buffer(self.handle, None) };
    }
}

/// A buffer with its memory, mapped if the CPU can see it.
#[derive(Debug)]
pub struct MappedBuffer<'g> {
    // The buffer goes before what is bound to it.
    buffer: Buffer<'g>,
    memory: Memory<'g>,
}

impl<'g> MappedBuffer<'g> {
    /// Creates a buffer in memory that fits a wish, and maps it where the type allows.
    pub fn new(
        gpu: &'g Gpu,
        size: u64,
        usage: vk::BufferUsageFlags,
        wish: MemoryWish,
    ) -> Result<Self, GuestError> {
        let buffer = Buffer::new(gpu, size, usage)?;
        let type_index = gpu.memory_type(buffer.requirements().memory_type_bits, wish)?;
        Self::with_type(gpu, buffer, type_index)
    }

    /// Gives a buffer memory of a type, which the buffer must allow.
    pub fn with_type(
        gpu: &'g Gpu,
        buffer: Buffer<'g>,
        type_index: u32,
    ) -> Result<Self, GuestError> {
        let memory = Memory::allocate(gpu, buffer.requirements().size, type_index)?;
        Self::with_memory(buffer, memory)
    }

    /// Gives a buffer memory that was allocated for it.
    pub fn with_memory(buffer: Buffer<'g>, mut memory: Memory<'g>) -> Result<Self, GuestError> {
        buffer.bind(&memory)?;
        if memory.is_host_visible() {
            memory.map()?;
        }
        Ok(Self { buffer, memory })
    }

    /// Replaces bytes and flushes them.
    pub fn upload(&self, offset: u64, bytes: &[u8]) -> Result<(), GuestError> {
        self.memory.write(offset, bytes);
        self.memory.flush()
    }

    /// Invalidates and copies bytes out.
    pub fn download(&self, offset: u64, bytes: &mut [u8]) -> Result<(), GuestError> {
        self.memory.invalidate()?;
        self.memory.read(offset, bytes);
        Ok(())
    }

    /// The buffer's handle.
    #[must_use]
    pub fn handle(&self) -> vk::Buffer {
        self.buffer.handle()
    }

    /// The buffer's size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.buffer.size()
    }

    /// The memory behind it.
    #[must_use]
    pub fn memory(&self) -> &Memory<'g> {
        &self.memory
    }
}
