//! An allocation.

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{Ordering, fence};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use ash::vk;
use coherd_protocol::memory::MemoryProperties;

use crate::error::DeviceError;
use crate::image::ImageHandle;
use crate::logical::LogicalDevice;
use crate::memory::buffer::Buffer;
use crate::memory::device_memory::DeviceMemory;
use crate::memory::export::{Exported, Share};
use crate::memory::host::HostMemory;
use crate::memory::{AccessError, ExportError, MappedBytes, range};

/// A memory object with all that lives on it. Fields are dropped in the order in which Vulkan
/// wants them destroyed.
pub struct Memory {
    buffer: Option<Buffer>,
    _image: Option<ImageHandle>,
    memory: DeviceMemory,
    _host: Option<Arc<dyn HostMemory>>,
    share: Option<Share>,
    foreign: bool,
    name: String,
    size: u64,
    mapped: OnceLock<MappedBytes>,
    mapping: Mutex<()>,
}

/// What [`Memory`] is made of.
pub struct Parts {
    /// The buffer bound to it.
    pub buffer: Option<Buffer>,
    /// The image bound to it.
    pub image: Option<ImageHandle>,
    /// The memory object.
    pub memory: DeviceMemory,
    /// The memory of the host it works on.
    pub host: Option<Arc<dyn HostMemory>>,
    /// How it is exported.
    pub share: Option<Share>,
    /// Whether others can access it: it was imported or can be exported.
    pub foreign: bool,
    /// What it is for.
    pub name: String,
    /// Bytes, as asked for.
    pub size: u64,
}

impl Memory {
    /// Puts the parts together.
    pub fn new(parts: Parts) -> Self {
        let device = parts.memory.device();
        device.name(parts.memory.raw(), &parts.name);
        if let Some(buffer) = &parts.buffer {
            device.name(buffer.raw(), &parts.name);
        }
        Self {
            buffer: parts.buffer,
            _image: parts.image,
            memory: parts.memory,
            _host: parts.host,
            share: parts.share,
            foreign: parts.foreign,
            name: parts.name,
            size: parts.size,
            mapped: OnceLock::new(),
            mapping: Mutex::new(()),
        }
    }

    /// The device it is of.
    pub fn device(&self) -> &Arc<LogicalDevice> {
        self.memory.device()
    }

    /// The buffer over all of it, if there can be one.
    pub fn buffer(&self) -> Option<&Buffer> {
        self.buffer.as_ref()
    }

    /// Whether others can access it.
    pub fn foreign(&self) -> bool {
        self.foreign
    }

    /// Bytes, as asked for.
    pub fn size(&self) -> u64 {
        self.size
    }

    fn properties(&self) -> MemoryProperties {
        self.memory.ty().properties
    }

    fn map(&self) -> Result<&MappedBytes, AccessError> {
        if let Some(mapped) = self.mapped.get() {
            return Ok(mapped);
        }
        self.device().ensure_alive()?;
        // VUID-vkMapMemory-memory-00682
        if !self.properties().contains(MemoryProperties::HOST_VISIBLE) {
            return Err(AccessError::NotHostVisible);
        }
        let _once = self.mapping.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mapped) = self.mapped.get() {
            return Ok(mapped);
        }
        let flags = vk::MemoryMapFlags::empty();
        // SAFETY: the memory is host visible, not mapped (VUID-vkMapMemory-memory-00678) and used
        // by no other thread for this; all of it is mapped.
        let start = self.device().outcome("vkMapMemory", unsafe {
            let raw = self.memory.raw();
            let device = self.device().raw();
            device.map_memory(raw, 0, vk::WHOLE_SIZE, flags)
        })?;
        let len = usize::try_from(self.size).map_err(|_| DeviceError::OutOfHostMemory)?;
        // SAFETY: the memory has at least `size` bytes and stays mapped until it is freed, which
        // is when this value has been dropped.
        let mapped = unsafe { MappedBytes::new(start.cast(), len, self.device().copied().clone()) };
        Ok(self.mapped.get_or_init(|| mapped))
    }

    /// The range for a flush or an invalidation of `range`; `None` if none is needed.
    fn to_sync(
        &self,
        range: &Range<u64>,
    ) -> Result<Option<vk::MappedMemoryRange<'static>>, AccessError> {
        self.device().ensure_alive()?;
        range::check(range, self.size)?;
        // VUID-VkMappedMemoryRange-memory-00684
        self.map()?;
        let coherent = MemoryProperties::HOST_COHERENT;
        if range.is_empty() || self.properties().contains(coherent) {
            return Ok(None);
        }
        let atom = self.device().facts().atom_size;
        let range = range::widen(range, atom, self.memory.size());
        Ok(Some(
            vk::MappedMemoryRange::default()
                .memory(self.memory.raw())
                .offset(range.start)
                .size(range.end - range.start),
        ))
    }

    fn flush(&self, range: &Range<u64>) -> Result<(), AccessError> {
        fence(Ordering::SeqCst);
        if let Some(range) = self.to_sync(range)? {
            // SAFETY: the memory is mapped, the range is one of its own and made of atoms
            // (see `range::widen`).
            self.device().outcome("vkFlushMappedMemoryRanges", unsafe {
                self.device().raw().flush_mapped_memory_ranges(&[range])
            })?;
        }
        Ok(())
    }

    fn invalidate(&self, range: &Range<u64>) -> Result<(), AccessError> {
        if let Some(range) = self.to_sync(range)? {
            let device = self.device();
            // SAFETY: as in `flush`.
            device.outcome("vkInvalidateMappedMemoryRanges", unsafe {
                device.raw().invalidate_mapped_memory_ranges(&[range])
            })?;
        }
        fence(Ordering::SeqCst);
        Ok(())
    }

    /// Exports it.
    ///
    /// # Errors
    /// See [`ExportError`].
    pub fn export(&self) -> Result<Exported, ExportError> {
        self.device().ensure_alive()?;
        let share = self.share.as_ref().ok_or(ExportError::NotExportable)?;
        share.export(&self.memory)
    }
}

/// Memory of a device. Clones are the same memory. It is freed when the last is dropped and no
/// transfer uses it any more.
#[derive(Clone)]
pub struct Allocation {
    memory: Arc<Memory>,
    memory_type: u32,
}

impl Allocation {
    /// An allocation of the memory type at `memory_type` of the device's list.
    pub(crate) fn new(memory: Memory, types: &[crate::memory::MemoryTypeInfo]) -> Self {
        let vulkan_index = memory.memory.ty().index;
        let info = types.iter().find(|ty| ty.vulkan_index == vulkan_index);
        Self {
            memory_type: info.map_or(0, |ty| ty.index),
            memory: Arc::new(memory),
        }
    }

    /// The memory, for those who keep it alive.
    pub(crate) fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    /// What it is for.
    pub fn name(&self) -> &str {
        &self.memory.name
    }

    /// Bytes, as asked for.
    pub fn size(&self) -> u64 {
        self.memory.size
    }

    /// Properties of its memory type.
    pub fn properties(&self) -> MemoryProperties {
        self.memory.properties()
    }

    /// Place of its memory type in [`Device::memory_types`](crate::Device::memory_types).
    pub fn memory_type_index(&self) -> u32 {
        self.memory_type
    }

    /// Whether it can be exported.
    pub fn is_exportable(&self) -> bool {
        self.memory.share.is_some()
    }

    /// Maps the memory; the first call does, later ones return the same.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub fn map(&self) -> Result<&MappedBytes, AccessError> {
        self.memory.map()
    }

    /// Makes what a CPU wrote to `range` visible to the device, whichever process wrote it.
    /// The range is widened to multiples of `nonCoherentAtomSize`; coherent memory needs an
    /// ordering point only.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub fn flush(&self, range: Range<u64>) -> Result<(), AccessError> {
        self.memory.flush(&range)
    }

    /// Makes what the device wrote to `range` visible to CPUs. The device has to be done with it.
    /// The range is widened as by [`Self::flush`]; what a CPU wrote beside it and nobody flushed
    /// is lost.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub fn invalidate(&self, range: Range<u64>) -> Result<(), AccessError> {
        self.memory.invalidate(&range)
    }

    /// Exports the memory. Each call gives a new fd of the same memory.
    ///
    /// # Errors
    /// See [`ExportError`].
    pub fn export(&self) -> Result<Exported, ExportError> {
        self.memory.export()
    }
}

impl fmt::Debug for Allocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Allocation")
            .field("name", &self.memory.name)
            .field("size", &self.memory.size)
            .field("properties", &self.properties())
            .finish_non_exhaustive()
    }
}
