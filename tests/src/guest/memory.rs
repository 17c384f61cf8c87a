//! Device memory: choosing a type, allocating, mapping, and access through the mapping.

use std::ptr::NonNull;

use ash::vk;

use super::error::{During, GuestError};
use super::gpu::Gpu;

/// What a memory type must be and, among those that are, should be.
#[derive(Clone, Copy, Debug)]
pub struct MemoryWish {
    /// Properties without which a type is no candidate.
    pub required: vk::MemoryPropertyFlags,
    /// Properties that make a candidate better.
    pub preferred: vk::MemoryPropertyFlags,
}

impl MemoryWish {
    /// Memory of the device.
    pub const DEVICE: Self = Self {
        required: vk::MemoryPropertyFlags::empty(),
        preferred: vk::MemoryPropertyFlags::DEVICE_LOCAL,
    };
    /// Memory the CPU writes and the device reads.
    pub const UPLOAD: Self = Self {
        required: vk::MemoryPropertyFlags::HOST_VISIBLE,
        preferred: vk::MemoryPropertyFlags::HOST_COHERENT,
    };
    /// Memory the device writes and the CPU reads, which wants a cache.
    pub const READBACK: Self = Self {
        required: vk::MemoryPropertyFlags::HOST_VISIBLE,
        preferred: vk::MemoryPropertyFlags::HOST_CACHED,
    };
}

/// Types that need a device feature no guest program enables
/// (VUID-vkAllocateMemory-deviceCoherentMemory-02790, VUID-VkMemoryAllocateInfo-memoryTypeIndex-01872).
const NEEDS_FEATURE: vk::MemoryPropertyFlags = vk::MemoryPropertyFlags::from_raw(
    vk::MemoryPropertyFlags::PROTECTED.as_raw()
        | vk::MemoryPropertyFlags::DEVICE_COHERENT_AMD.as_raw(),
);

impl Gpu {
    /// The best memory type among those a resource allows.
    pub fn memory_type(&self, allowed: u32, wish: MemoryWish) -> Result<u32, GuestError> {
        (0u32..)
            .zip(self.memory_types())
            .filter(|(index, _)| allowed & (1 << index) != 0)
            .map(|(index, memory_type)| (index, memory_type.property_flags))
            .filter(|(_, flags)| flags.contains(wish.required) && !flags.intersects(NEEDS_FEATURE))
            // The first of equals, because drivers list the better one first.
            .min_by_key(|(_, flags)| !flags.contains(wish.preferred))
            .map(|(index, _)| index)
            .ok_or(GuestError::NoMemoryType {
                allowed,
                required: wish.required,
            })
    }

    /// Every memory type that can be mapped.
    #[must_use]
    pub fn host_visible_types(&self) -> Vec<u32> {
        (0u32..)
            .zip(self.memory_types())
            .filter(|(_, memory_type)| {
                let flags = memory_type.property_flags;
                flags.contains(vk::MemoryPropertyFlags::HOST_VISIBLE)
                    && !flags.intersects(NEEDS_FEATURE)
            })
            .map(|(index, _)| index)
            .collect()
    }

    /// The properties of a memory type.
    #[must_use]
    pub fn memory_properties(&self, type_index: u32) -> vk::MemoryPropertyFlags {
        let index = usize::try_from(type_index).unwrap_or(usize::MAX);
        self.memory_types()
            .get(index)
            .map_or(vk::MemoryPropertyFlags::empty(), |memory_type| {
                memory_type.property_flags
            })
    }
}

/// One `VkDeviceMemory`, mapped as a whole or not at all.
#[derive(Debug)]
pub struct Memory<'g> {
    gpu: &'g Gpu,
    handle: vk::DeviceMemory,
    size: u64,
    properties: vk::MemoryPropertyFlags,
    mapping: Option<NonNull<u8>>,
}

impl<'g> Memory<'g> {
    /// Allocates memory of a type.
    pub fn allocate(gpu: &'g Gpu, size: u64, type_index: u32) -> Result<Self, GuestError> {
        let info = vk::MemoryAllocateInfo::default()
            .allocation_size(size)
            .memory_type_index(type_index);
        Self::allocate_with(gpu, &info)
    }

    /// Allocates memory as a structure, with what is chained to it, says.
    pub fn allocate_with(
        gpu: &'g Gpu,
        info: &vk::MemoryAllocateInfo<'_>,
    ) -> Result<Self, GuestError> {
        // SAFETY: the structure and its chain live until the call returns.
        let handle =
            unsafe { gpu.device().allocate_memory(info, None) }.during("vkAllocateMemory")?;
        let properties = gpu.memory_properties(info.memory_type_index);
        Ok(Self {
            gpu,
            handle,
            size: info.allocation_size,
            properties,
            mapping: None,
        })
    }

    /// Maps the whole of it; a second call changes nothing.
    pub fn map(&mut self) -> Result<(), GuestError> {
        if self.mapping.is_some() {
            return Ok(());
        }
        // VUID-vkMapMemory-memory-00682
        if !self.is_host_visible() {
            return Err(GuestError::NotHostVisible);
        }
        // SAFETY: the memory is host-visible and not mapped (VUID-vkMapMemory-memory-00678).
        let pointer = unsafe {
            self.gpu.device().map_memory(
                self.handle,
                0,
                vk::WHOLE_SIZE,
                vk::MemoryMapFlags::empty(),
            )
        }
        .during("vkMapMemory")?;
        self.mapping = Some(NonNull::new(pointer.cast()).ok_or(GuestError::NullMapping)?);
        Ok(())
    }

    /// Unmaps it where it is mapped.
    pub fn unmap(&mut self) {
        if self.mapping.take().is_some() {
            // SAFETY: the memory is mapped (VUID-vkUnmapMemory-memory-00689).
            unsafe { self.gpu.device().unmap_memory(self.handle) };
        }
    }

    /// Writes bytes through the mapping.
    ///
    /// # Panics
    /// When the memory is not mapped or the bytes do not fit.
    pub fn write(&self, offset: u64, bytes: &[u8]) {
        let target = self.address(offset, bytes.len());
        // SAFETY: `address` checked that the mapping holds so many bytes at the offset. No
        // reference into a mapping is ever made, so nothing else can alias the target.
        unsafe { target.copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len()) };
    }

    /// Reads bytes through the mapping.
    ///
    /// # Panics
    /// When the memory is not mapped or has fewer bytes.
    pub fn read(&self, offset: u64, bytes: &mut [u8]) {
        let source = self.address(offset, bytes.len());
        // SAFETY: as in `write`; the bytes belong to the caller.
        unsafe { source.copy_to_nonoverlapping(NonNull::from(&mut *bytes).cast(), bytes.len()) };
    }

    /// Writes one word through the mapping, with a store the compiler keeps.
    ///
    /// # Panics
    /// When the memory is not mapped, or the word is unaligned or outside.
    pub fn store(&self, offset: u64, word: u64) {
        // SAFETY: `word_address` checked bounds and alignment.
        unsafe { self.word_address(offset).write_volatile(word) };
    }

    /// Reads one word through the mapping, with a load the compiler keeps.
    ///
    /// # Panics
    /// When the memory is not mapped, or the word is unaligned or outside.
    #[must_use]
    pub fn load(&self, offset: u64) -> u64 {
        // SAFETY: `word_address` checked bounds and alignment.
        unsafe { self.word_address(offset).read_volatile() }
    }

    /// Makes the CPU's writes visible to the device where the type does not do so by itself.
    pub fn flush(&self) -> Result<(), GuestError> {
        if self.is_coherent() {
            return Ok(());
        }
        // SAFETY: the whole memory is mapped, so the range needs no rounding
        // (VUID-VkMappedMemoryRange-size-01389).
        unsafe {
            self.gpu
                .device()
                .flush_mapped_memory_ranges(&[self.range()])
        }
        .during("vkFlushMappedMemoryRanges")
    }

    /// Makes the device's writes visible to the CPU where the type does not do so by itself.
    pub fn invalidate(&self) -> Result<(), GuestError> {
        if self.is_coherent() {
            return Ok(());
        }
        // SAFETY: as in `flush`.
        unsafe {
            self.gpu
                .device()
                .invalidate_mapped_memory_ranges(&[self.range()])
        }
        .during("vkInvalidateMappedMemoryRanges")
    }

    /// Whether it can be mapped.
    #[must_use]
    pub fn is_host_visible(&self) -> bool {
        self.properties
            .contains(vk::MemoryPropertyFlags::HOST_VISIBLE)
    }

    /// Whether access through the mapping needs no flush and no invalidation.
    #[must_use]
    pub fn is_coherent(&self) -> bool {
        self.properties
            .contains(vk::MemoryPropertyFlags::HOST_COHERENT)
    }

    /// The handle.
    #[must_use]
    pub fn handle(&self) -> vk::DeviceMemory {
        self.handle
    }

    /// The size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    fn range(&self) -> vk::MappedMemoryRange<'static> {
        vk::MappedMemoryRange::default()
            .memory(self.handle)
            .size(vk::WHOLE_SIZE)
    }

    fn address(&self, offset: u64, length: usize) -> NonNull<u8> {
        let end = u64::try_from(length)
            .ok()
            .and_then(|length| offset.checked_add(length));
        assert!(
            end.is_some_and(|end| end <= self.size),
            "access outside the memory"
        );
        let (Some(mapping), Ok(offset)) = (self.mapping, usize::try_from(offset)) else {
            panic!("access to memory that is not mapped");
        };
        // SAFETY: the offset is inside the mapping, which is one object of `size` bytes.
        unsafe { mapping.add(offset) }
    }

    fn word_address(&self, offset: u64) -> NonNull<u64> {
        let address = self.address(offset, size_of::<u64>()).cast::<u64>();
        assert!(address.is_aligned(), "access to an unaligned word");
        address
    }
}

impl Drop for Memory<'_> {
    fn drop(&mut self) {
        // SAFETY: resources bound to the memory are idle, as every submission is waited for, and
        // are not used after it. Freeing unmaps.
        unsafe { self.gpu.device().free_memory(self.handle, None) };
    }
}
