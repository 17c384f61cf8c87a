//! One allocation with known contents, readable through its mapping and by the device.

use ash::vk;

use super::error::CheckError;
use super::pattern;
use crate::guest::{Buffer, Commands, Gpu, MappedBuffer, Memory, MemoryWish};

/// Allocations a check makes besides those it counts.
const SPARE: u32 = 16;

/// What an allocation of some size needs, asked once.
#[derive(Clone, Copy, Debug)]
pub struct Template {
    /// Bytes that are allocated.
    pub allocation_size: u64,
    /// The memory type.
    pub type_index: u32,
}

impl Template {
    /// For buffers of a size in a host-visible type, the best one unless another is asked for.
    pub fn new(gpu: &Gpu, size: u64, type_index: Option<u32>) -> Result<Self, CheckError> {
        if size == 0 {
            return Err(CheckError::BadOption("The size must not be zero"));
        }
        let needs = device_view(gpu, size)?.requirements();
        let type_index = match type_index {
            None => gpu.memory_type(needs.memory_type_bits, MemoryWish::UPLOAD)?,
            Some(index) => {
                let usable = index < 32 && needs.memory_type_bits & (1 << index) != 0;
                if !usable || !gpu.host_visible_types().contains(&index) {
                    return Err(CheckError::BadType(index));
                }
                index
            }
        };
        Ok(Self {
            allocation_size: needs.size.max(size),
            type_index,
        })
    }

    /// Checks a number of live allocations (VUID-vkAllocateMemory-maxMemoryAllocationCount-04101).
    pub fn check_live(gpu: &Gpu, live: usize) -> Result<(), CheckError> {
        let limit = gpu
            .properties()
            .limits
            .max_memory_allocation_count
            .saturating_sub(SPARE);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        if live > limit {
            Err(CheckError::TooMany { live, limit })
        } else {
            Ok(())
        }
    }

    /// Allocates and maps.
    pub fn allocate<'g>(&self, gpu: &'g Gpu) -> Result<Memory<'g>, CheckError> {
        let mut memory = Memory::allocate(gpu, self.allocation_size, self.type_index)?;
        memory.map()?;
        Ok(memory)
    }
}

/// A buffer through which the device reads an allocation.
fn device_view(gpu: &Gpu, size: u64) -> Result<Buffer<'_>, CheckError> {
    Ok(Buffer::new(gpu, size, vk::BufferUsageFlags::TRANSFER_SRC)?)
}

/// The device's way to read an allocation: a copy to a buffer of ours.
#[derive(Debug)]
pub struct DeviceReader<'g> {
    gpu: &'g Gpu,
    commands: Commands<'g>,
    target: MappedBuffer<'g>,
}

impl<'g> DeviceReader<'g> {
    /// Makes the target of the copies.
    pub fn new(gpu: &'g Gpu, size: u64) -> Result<Self, CheckError> {
        let usage = vk::BufferUsageFlags::TRANSFER_DST;
        let target = MappedBuffer::new(gpu, size, usage, MemoryWish::READBACK)?;
        Ok(Self {
            gpu,
            commands: Commands::new(gpu)?,
            target,
        })
    }

    /// Has the device copy an allocation, whose bytes must be flushed, and reads the copy.
    pub fn read(&self, memory: &Memory<'_>, bytes: &mut [u8]) -> Result<(), CheckError> {
        let view = device_view(self.gpu, self.target.size())?;
        view.bind(memory)?;
        let region = [vk::BufferCopy {
            src_offset: 0,
            dst_offset: 0,
            size: self.target.size(),
        }];
        self.commands.run(|device, commands| {
            // SAFETY: both buffers have this size and outlive the run.
            unsafe {
                device.cmd_copy_buffer(commands, view.handle(), self.target.handle(), &region);
            }
        })?;
        Ok(self.target.download(0, bytes)?)
    }
}

/// An allocation filled with the pattern of a seed.
#[derive(Debug)]
pub struct Filled<'g> {
    memory: Memory<'g>,
    seed: u64,
}

impl<'g> Filled<'g> {
    /// Allocates and fills; `scratch` has the template's size.
    pub fn new(
        gpu: &'g Gpu,
        template: &Template,
        seed: u64,
        scratch: &mut [u8],
    ) -> Result<Self, CheckError> {
        let memory = template.allocate(gpu)?;
        pattern::fill(seed, scratch);
        memory.write(0, scratch);
        memory.flush()?;
        Ok(Self { memory, seed })
    }

    /// Checks the bytes as the mapping shows them.
    pub fn verify(&self, scratch: &mut Scratch) -> Result<(), CheckError> {
        self.memory.invalidate()?;
        self.memory.read(0, &mut scratch.found);
        self.compare(scratch, "through the mapping")
    }

    /// Checks the bytes as the device reads them.
    pub fn verify_on_device(
        &self,
        reader: &DeviceReader<'_>,
        scratch: &mut Scratch,
    ) -> Result<(), CheckError> {
        reader.read(&self.memory, &mut scratch.found)?;
        self.compare(scratch, "through the device")
    }

    fn compare(&self, scratch: &mut Scratch, how: &str) -> Result<(), CheckError> {
        pattern::fill(self.seed, &mut scratch.expected);
        pattern::compare(&scratch.expected, &scratch.found).map_err(|mismatch| CheckError::Bytes {
            what: format!("allocation {} {how}", self.seed),
            mismatch,
        })
    }
}

/// Room for the bytes of one allocation, expected and found.
#[derive(Debug)]
pub struct Scratch {
    /// What should be there.
    pub expected: Vec<u8>,
    /// What is there.
    pub found: Vec<u8>,
}

impl Scratch {
    /// Room for a size.
    pub fn new(size: u64) -> Result<Self, CheckError> {
        let size = usize::try_from(size)
            .map_err(|_| CheckError::BadOption("The size does not fit the address space"))?;
        Ok(Self {
            expected: vec![0; size],
            found: vec![0; size],
        })
    }
}
