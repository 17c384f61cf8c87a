//! A memory object.

use std::sync::Arc;

use ash::vk;

use crate::error::DeviceError;
use crate::facts::TypeFacts;
use crate::logical::LogicalDevice;
use crate::memory::AllocateError;
use crate::memory::heaps::{check_budget, heaps};

/// Where the bytes of a memory object come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// They are new, and so within the budget.
    New,
    /// They are there already.
    Imported,
}

/// A memory object.
#[derive(Debug)]
pub struct DeviceMemory {
    device: Arc<LogicalDevice>,
    raw: vk::DeviceMemory,
    size: u64,
    ty: TypeFacts,
}

impl DeviceMemory {
    /// Allocates memory of type `ty` by `info`, which has its size.
    ///
    /// # Errors
    /// Of [`AllocateError`] what concerns sizes and budgets, and the call's.
    ///
    /// # Safety
    /// The chain of `info` keeps the rules of `VkMemoryAllocateInfo`; its lifetimes only say that
    /// it is there.
    pub unsafe fn allocate(
        device: &Arc<LogicalDevice>,
        ty: &TypeFacts,
        source: Source,
        info: vk::MemoryAllocateInfo<'_>,
    ) -> Result<Self, AllocateError> {
        let info = info.memory_type_index(ty.index);
        let size = info.allocation_size;
        let accounts = device.heaps();
        let _others_wait = accounts.lock();
        if source == Source::New {
            let heaps = heaps(device);
            let heap = usize::try_from(ty.heap).ok().and_then(|i| heaps.get(i));
            heap.map_or(Ok(()), |heap| check_budget(heap, size))?;
        }
        let limit = device.facts().max_allocations;
        accounts.charge(ty.heap, size, limit)?;
        // SAFETY: the chain is the caller's matter, type index and size are checked
        // (VUID-vkAllocateMemory-pAllocateInfo-01713, -01714), and so is the count
        // (VUID-vkAllocateMemory-maxMemoryAllocationCount-04101).
        let result = device.outcome("vkAllocateMemory", unsafe {
            device.raw().allocate_memory(&info, None)
        });
        match result {
            Ok(raw) => Ok(Self {
                device: device.clone(),
                raw,
                size,
                ty: *ty,
            }),
            Err(error) => {
                accounts.release(ty.heap, size);
                Err(match error {
                    DeviceError::Call {
                        source: vk::Result::ERROR_TOO_MANY_OBJECTS,
                        ..
                    } => AllocateError::TooMany { limit },
                    error => error.into(),
                })
            }
        }
    }

    /// The device it is of.
    pub fn device(&self) -> &Arc<LogicalDevice> {
        &self.device
    }

    /// The handle.
    pub fn raw(&self) -> vk::DeviceMemory {
        self.raw
    }

    /// Bytes, which may be more than anybody asked for.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Its type.
    pub fn ty(&self) -> &TypeFacts {
        &self.ty
    }
}

impl Drop for DeviceMemory {
    fn drop(&mut self) {
        // SAFETY: buffers and images on it are destroyed, and what the GPU still uses is kept by
        // the queue (VUID-vkFreeMemory-memory-00677). A mapping ends with it.
        unsafe { self.device.raw().free_memory(self.raw, None) };
        self.device.heaps().release(self.ty.heap, self.size);
    }
}
