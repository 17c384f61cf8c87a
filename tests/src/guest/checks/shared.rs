//! Memory with a handle outside Vulkan.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::ptr;

use ash::{khr, vk};
use rustix::ioctl::{Setter, ioctl, opcode};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::error::CheckError;
use crate::guest::{Buffer, During, Gpu, MappedBuffer, Memory, MemoryWish};

/// `DMA_BUF_IOCTL_SYNC` of `linux/dma-buf.h`.
const SYNC: rustix::ioctl::Opcode = opcode::write::<u64>(b'b', 0);
/// `DMA_BUF_SYNC_READ`.
const SYNC_READ: u64 = 1;
/// `DMA_BUF_SYNC_END`.
const SYNC_END: u64 = 4;

/// A mapped buffer whose memory is exported, or imported.
#[derive(Debug)]
pub struct Exported<'g> {
    gpu: &'g Gpu,
    buffer: MappedBuffer<'g>,
    handle_type: vk::ExternalMemoryHandleTypeFlags,
    type_index: u32,
}

impl<'g> Exported<'g> {
    /// What the buffer is used for.
    pub const USAGE: vk::BufferUsageFlags = vk::BufferUsageFlags::from_raw(
        vk::BufferUsageFlags::TRANSFER_SRC.as_raw() | vk::BufferUsageFlags::TRANSFER_DST.as_raw(),
    );

    /// Allocates memory that can be exported.
    pub fn new(
        gpu: &'g Gpu,
        size: u64,
        handle_type: vk::ExternalMemoryHandleTypeFlags,
    ) -> Result<Self, CheckError> {
        let buffer = external_buffer(gpu, size, handle_type)?;
        let needs = buffer.requirements();
        let type_index = gpu.memory_type(needs.memory_type_bits, MemoryWish::UPLOAD)?;
        let mut export = vk::ExportMemoryAllocateInfo::default().handle_types(handle_type);
        // Some drivers export memory of one resource alone.
        let mut dedicated = vk::MemoryDedicatedAllocateInfo::default().buffer(buffer.handle());
        let info = vk::MemoryAllocateInfo::default()
            .allocation_size(needs.size)
            .memory_type_index(type_index)
            .push_next(&mut export)
            .push_next(&mut dedicated);
        let memory = Memory::allocate_with(gpu, &info)?;
        let buffer = MappedBuffer::with_memory(buffer, memory)?;
        Ok(Self {
            gpu,
            buffer,
            handle_type,
            type_index,
        })
    }

    /// A new handle of the memory.
    pub fn export(&self) -> Result<OwnedFd, CheckError> {
        let info = vk::MemoryGetFdInfoKHR::default()
            .memory(self.buffer.memory().handle())
            .handle_type(self.handle_type);
        // SAFETY: the memory was allocated for this type of handle
        // (VUID-VkMemoryGetFdInfoKHR-handleType-00671).
        let fd = unsafe { functions(self.gpu).get_memory_fd(&info) }.during("vkGetMemoryFdKHR")?;
        // SAFETY: the driver made the descriptor for us alone.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    /// The memory behind a handle of this memory, as a second buffer.
    pub fn import(&self, fd: OwnedFd) -> Result<Self, CheckError> {
        let buffer = external_buffer(self.gpu, self.buffer.size(), self.handle_type)?;
        // An opaque handle keeps its memory type, any other says what it can be.
        let type_index = if self.handle_type == vk::ExternalMemoryHandleTypeFlags::OPAQUE_FD {
            self.type_index
        } else {
            import_type(self.gpu, self.handle_type, &fd, &buffer)?
        };
        // The size must be the exported one (VUID-VkMemoryAllocateInfo-allocationSize-01742).
        let size = self.buffer.memory().size();
        Self::imported(self.gpu, buffer, self.handle_type, fd, (size, type_index))
    }

    /// The `size` bytes of a dma-buf that somebody else exported, as a buffer.
    pub fn from_dma_buf(gpu: &'g Gpu, fd: OwnedFd, size: u64) -> Result<Self, CheckError> {
        let handle_type = vk::ExternalMemoryHandleTypeFlags::DMA_BUF_EXT;
        let buffer = external_buffer(gpu, size, handle_type)?;
        let type_index = import_type(gpu, handle_type, &fd, &buffer)?;
        Self::imported(gpu, buffer, handle_type, fd, (size, type_index))
    }

    fn imported(
        gpu: &'g Gpu,
        buffer: Buffer<'g>,
        handle_type: vk::ExternalMemoryHandleTypeFlags,
        fd: OwnedFd,
        (size, type_index): (u64, u32),
    ) -> Result<Self, CheckError> {
        let mut import = vk::ImportMemoryFdInfoKHR::default()
            .handle_type(handle_type)
            .fd(fd.as_raw_fd());
        let mut dedicated = vk::MemoryDedicatedAllocateInfo::default().buffer(buffer.handle());
        let info = vk::MemoryAllocateInfo::default()
            .allocation_size(size)
            .memory_type_index(type_index)
            .push_next(&mut import)
            .push_next(&mut dedicated);
        let memory = Memory::allocate_with(gpu, &info)?;
        // A successful import takes the descriptor over.
        let _ = fd.into_raw_fd();
        let buffer = MappedBuffer::with_memory(buffer, memory)?;
        Ok(Self {
            gpu,
            buffer,
            handle_type,
            type_index,
        })
    }

    /// The buffer.
    pub fn buffer(&self) -> &MappedBuffer<'g> {
        &self.buffer
    }
}

fn functions(gpu: &Gpu) -> khr::external_memory_fd::Device {
    khr::external_memory_fd::Device::new(gpu.instance(), gpu.device())
}

/// The memory type with which a handle is imported for a buffer. The handle is not opaque.
fn import_type(
    gpu: &Gpu,
    handle_type: vk::ExternalMemoryHandleTypeFlags,
    fd: &OwnedFd,
    buffer: &Buffer<'_>,
) -> Result<u32, CheckError> {
    let mut properties = vk::MemoryFdPropertiesKHR::default();
    // SAFETY: the handle is open and not opaque
    // (VUID-vkGetMemoryFdPropertiesKHR-handleType-00674).
    unsafe {
        functions(gpu).get_memory_fd_properties(handle_type, fd.as_raw_fd(), &mut properties)
    }
    .during("vkGetMemoryFdPropertiesKHR")?;
    let allowed = buffer.requirements().memory_type_bits & properties.memory_type_bits;
    Ok(gpu.memory_type(allowed, MemoryWish::UPLOAD)?)
}

fn external_buffer(
    gpu: &Gpu,
    size: u64,
    handle_type: vk::ExternalMemoryHandleTypeFlags,
) -> Result<Buffer<'_>, CheckError> {
    let mut external = vk::ExternalMemoryBufferCreateInfo::default().handle_types(handle_type);
    let info = vk::BufferCreateInfo::default()
        .size(size)
        .usage(Exported::USAGE)
        .push_next(&mut external);
    Ok(Buffer::new_with(gpu, &info)?)
}

/// Maps a dma-buf and reads its first bytes, in a bracket.
pub fn map_and_read(fd: &OwnedFd, bytes: &mut [u8]) -> io::Result<()> {
    // SAFETY: a new mapping at an address of the kernel's choice replaces none.
    let mapping = unsafe {
        mmap(
            ptr::null_mut(),
            bytes.len(),
            ProtFlags::READ,
            MapFlags::SHARED,
            fd,
            0,
        )
    }?;
    let bracketed = sync(fd, SYNC_READ);
    if bracketed.is_ok() {
        // SAFETY: the mapping has this many bytes, and no reference into it is made.
        unsafe {
            ptr::copy_nonoverlapping(mapping.cast(), bytes.as_mut_ptr(), bytes.len());
        }
    }
    let ended = sync(fd, SYNC_READ | SYNC_END);
    // SAFETY: the mapping was made above and is not used any more.
    unsafe { munmap(mapping, bytes.len()) }?;
    bracketed.and(ended)
}

/// One end of a bracket. What only stands in for a dma-buf is plain memory and needs none.
fn sync(fd: impl AsFd, flags: u64) -> io::Result<()> {
    loop {
        // SAFETY: the operation reads a `struct dma_buf_sync`, which is one 64-bit number.
        match unsafe { ioctl(&fd, Setter::<SYNC, u64>::new(flags)) } {
            Ok(()) | Err(rustix::io::Errno::NOTTY) => return Ok(()),
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
