//! Memory, and buffers on it.

use core::ffi::c_void;
use core::ptr;
use std::os::fd::{FromRawFd as _, IntoRawFd as _, OwnedFd};
use std::rc::Rc;

use ash::vk;
use ash::vk::ExternalMemoryHandleTypeFlags as HandleTypes;

use crate::gpu::Gpu;

/// Bytes of every buffer here: a few pages, and atoms that are not one page.
pub const SIZE: u64 = 16384;

/// Device memory.
pub struct Memory {
    pub vk: vk::DeviceMemory,
    pub gpu: Rc<Gpu>,
}

impl Memory {
    /// Memory of `size` bytes with a chain of the test's.
    pub fn new(
        gpu: &Rc<Gpu>,
        memory_type: u32,
        size: u64,
        chain: &mut impl vk::ExtendsMemoryAllocateInfo,
    ) -> Result<Self, vk::Result> {
        let info = vk::MemoryAllocateInfo::default()
            .allocation_size(size)
            .memory_type_index(memory_type)
            .push_next(chain);
        Ok(Self {
            // SAFETY: a live device; what the chain imports is the test's.
            vk: unsafe { gpu.vk.allocate_memory(&info, None) }?,
            gpu: Rc::clone(gpu),
        })
    }

    /// Maps the whole.
    pub fn map(&self) -> Result<Bytes, vk::Result> {
        let flags = vk::MemoryMapFlags::empty();
        // SAFETY: live memory that is host visible.
        let address = unsafe { self.gpu.vk.map_memory(self.vk, 0, vk::WHOLE_SIZE, flags) }?;
        Ok(Bytes(address.cast()))
    }

    pub fn range(&self, offset: u64, size: u64) -> vk::MappedMemoryRange<'static> {
        vk::MappedMemoryRange::default()
            .memory(self.vk)
            .offset(offset)
            .size(size)
    }

    pub fn flush(&self, offset: u64, size: u64) -> Result<(), vk::Result> {
        let range = self.range(offset, size);
        // SAFETY: memory that the test has mapped.
        unsafe { self.gpu.vk.flush_mapped_memory_ranges(&[range]) }
    }

    pub fn invalidate(&self, offset: u64, size: u64) -> Result<(), vk::Result> {
        let range = self.range(offset, size);
        // SAFETY: as above.
        unsafe { self.gpu.vk.invalidate_mapped_memory_ranges(&[range]) }
    }

    pub fn export(&self, kind: HandleTypes) -> Result<OwnedFd, vk::Result> {
        let functions =
            ash::khr::external_memory_fd::Device::new(&self.gpu.instance.vk, &self.gpu.vk);
        let info = vk::MemoryGetFdInfoKHR::default()
            .memory(self.vk)
            .handle_type(kind);
        // SAFETY: live memory; the fd is a new one.
        unsafe {
            functions
                .get_memory_fd(&info)
                .map(|fd| OwnedFd::from_raw_fd(fd))
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the resource bound to it is not used afterwards.
        unsafe { self.gpu.vk.free_memory(self.vk, None) };
    }
}

/// A mapping, of at least [`SIZE`] bytes.
#[derive(Clone, Copy)]
pub struct Bytes(*mut u8);

impl Bytes {
    /// # Safety
    /// As many bytes stay mapped as long as the result is used.
    pub unsafe fn at(address: *mut u8) -> Self {
        Self(address)
    }

    pub fn address(self) -> *mut c_void {
        self.0.cast()
    }

    pub fn write(self, value: u8) {
        // SAFETY: mapped memory, which the GPU does not work on now.
        unsafe { ptr::write_bytes(self.0, value, usize::try_from(SIZE).unwrap()) };
    }

    pub fn byte(self, offset: u64) -> u8 {
        // SAFETY: as above.
        unsafe { self.0.add(usize::try_from(offset).unwrap()).read_volatile() }
    }

    /// Whether every byte is `value`.
    pub fn is(self, value: u8) -> bool {
        (0..SIZE).all(|offset| self.byte(offset) == value)
    }
}

/// A buffer of [`SIZE`] bytes with memory of its own.
pub struct Buffer {
    /// Destroyed before its memory.
    unbound: Unbound,
    pub memory: Memory,
}

impl Buffer {
    pub fn handle(&self) -> vk::Buffer {
        self.unbound.vk
    }

    pub fn new(gpu: &Rc<Gpu>, memory_type: u32) -> Result<Self, vk::Result> {
        let buffer = Unbound::new(gpu, HandleTypes::empty())?;
        let memory = Memory::new(
            gpu,
            memory_type,
            buffer.size(),
            &mut vk::MemoryAllocateFlagsInfo::default(),
        )?;
        buffer.bind(memory)
    }

    /// A buffer whose memory can be exported.
    pub fn exportable(
        gpu: &Rc<Gpu>,
        memory_type: u32,
        kind: HandleTypes,
    ) -> Result<Self, vk::Result> {
        let buffer = Unbound::new(gpu, kind)?;
        let mut export = vk::ExportMemoryAllocateInfo::default().handle_types(kind);
        let memory = Memory::new(gpu, memory_type, buffer.size(), &mut export)?;
        buffer.bind(memory)
    }

    /// A buffer on memory that somebody exported.
    pub fn import(
        gpu: &Rc<Gpu>,
        memory_type: u32,
        kind: HandleTypes,
        fd: OwnedFd,
    ) -> Result<Self, vk::Result> {
        let buffer = Unbound::new(gpu, kind)?;
        let raw = fd.into_raw_fd();
        let mut import = vk::ImportMemoryFdInfoKHR::default()
            .handle_type(kind)
            .fd(raw);
        let memory =
            Memory::new(gpu, memory_type, buffer.size(), &mut import).inspect_err(|_| {
                // SAFETY: an import that fails does not take the fd.
                drop(unsafe { OwnedFd::from_raw_fd(raw) });
            })?;
        buffer.bind(memory)
    }

    /// A buffer on `SIZE` bytes at `address`, which outlive it.
    pub fn import_host(
        gpu: &Rc<Gpu>,
        memory_type: u32,
        address: *mut c_void,
    ) -> Result<Self, vk::Result> {
        let kind = HandleTypes::HOST_ALLOCATION_EXT;
        let buffer = Unbound::new(gpu, kind)?;
        let mut import = vk::ImportMemoryHostPointerInfoEXT::default()
            .handle_type(kind)
            .host_pointer(address);
        let memory = Memory::new(gpu, memory_type, SIZE, &mut import)?;
        buffer.bind(memory)
    }
}

/// A buffer without memory.
pub struct Unbound {
    vk: vk::Buffer,
    gpu: Rc<Gpu>,
}

impl Unbound {
    pub fn new(gpu: &Rc<Gpu>, kind: HandleTypes) -> Result<Self, vk::Result> {
        let mut external = vk::ExternalMemoryBufferCreateInfo::default().handle_types(kind);
        let info = create_info(&mut external);
        Ok(Self {
            // SAFETY: a live device.
            vk: unsafe { gpu.vk.create_buffer(&info, None) }?,
            gpu: Rc::clone(gpu),
        })
    }

    pub fn requirements(&self) -> vk::MemoryRequirements {
        // SAFETY: a live buffer.
        unsafe { self.gpu.vk.get_buffer_memory_requirements(self.vk) }
    }

    fn size(&self) -> u64 {
        self.requirements().size
    }

    fn bind(self, memory: Memory) -> Result<Buffer, vk::Result> {
        // SAFETY: both are live, and the buffer is not yet bound.
        unsafe { self.gpu.vk.bind_buffer_memory(self.vk, memory.vk, 0) }?;
        Ok(Buffer {
            unbound: self,
            memory,
        })
    }
}

impl Drop for Unbound {
    fn drop(&mut self) {
        // SAFETY: a live buffer that nobody uses.
        unsafe { self.gpu.vk.destroy_buffer(self.vk, None) };
    }
}

/// What every buffer here is created from.
pub fn create_info<'a>(
    external: &'a mut vk::ExternalMemoryBufferCreateInfo<'_>,
) -> vk::BufferCreateInfo<'a> {
    let info = vk::BufferCreateInfo::default()
        .size(SIZE)
        .usage(vk::BufferUsageFlags::TRANSFER_SRC | vk::BufferUsageFlags::TRANSFER_DST);
    if external.handle_types.is_empty() {
        return info;
    }
    external.p_next = ptr::null();
    vk::BufferCreateInfo {
        p_next: ptr::from_mut(external).cast_const().cast(),
        ..info
    }
}
