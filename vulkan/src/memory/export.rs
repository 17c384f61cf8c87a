//! The ways in which memory can be shared with other processes.

use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::Arc;

use ash::vk;
use coherd_blob::backing::ExportKind;
use coherd_protocol::memory::MemoryProperties;

use crate::error::DeviceError;
use crate::extensions::Extensions;
use crate::external::external_buffers;
use crate::facts::TypeFacts;
use crate::logical::LogicalDevice;
use crate::memory::buffer::{Buffer, TRANSFERS};
use crate::memory::choose::allows;
use crate::memory::device_memory::DeviceMemory;
use crate::memory::{AllocateError, ExportError, ExportNeed, shm};

/// Memory as a file that other processes can map.
#[derive(Debug)]
pub struct Exported {
    /// The file.
    pub fd: OwnedFd,
    /// What it is; [`Backing::new`](coherd_blob::Backing::new) finds the bytes in it.
    pub kind: ExportKind,
}

/// How a memory object was made to be shared.
#[derive(Debug)]
pub enum Share {
    /// The driver exports it.
    Driver(ExportKind),
    /// It works on this memfd.
    Memfd(OwnedFd),
}

impl Share {
    /// A file of `memory`, which was made to be shared like this.
    ///
    /// # Errors
    /// See [`ExportError`].
    pub fn export(&self, memory: &DeviceMemory) -> Result<Exported, ExportError> {
        match self {
            Self::Driver(kind) => Ok(Exported {
                fd: driver_fd(memory, *kind)?,
                kind: *kind,
            }),
            Self::Memfd(fd) => Ok(Exported {
                fd: rustix::io::fcntl_dupfd_cloexec(fd, 0).map_err(ExportError::Duplicate)?,
                kind: ExportKind::Shm,
            }),
        }
    }
}

fn driver_fd(memory: &DeviceMemory, kind: ExportKind) -> Result<OwnedFd, ExportError> {
    let device = memory.device();
    let functions = device.functions().memory_fd.as_ref();
    let functions = functions.ok_or(ExportError::NotExportable)?;
    let info = vk::MemoryGetFdInfoKHR::default()
        .memory(memory.raw())
        .handle_type(handle_type(kind));
    // SAFETY: the memory is alive and was allocated for this handle type, which is one of fds
    // (VUID-VkMemoryGetFdInfoKHR-handleType-00671, -00672).
    let fd = device.outcome("vkGetMemoryFdKHR", unsafe {
        functions.get_memory_fd(&info)
    })?;
    // SAFETY: the driver gives the fd away.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Vulkan's name for what is exported.
pub fn handle_type(kind: ExportKind) -> vk::ExternalMemoryHandleTypeFlags {
    match kind {
        ExportKind::DmaBuf => vk::ExternalMemoryHandleTypeFlags::DMA_BUF_EXT,
        ExportKind::Opaque => vk::ExternalMemoryHandleTypeFlags::OPAQUE_FD,
        ExportKind::Shm => vk::ExternalMemoryHandleTypeFlags::HOST_ALLOCATION_EXT,
    }
}

/// What each memory type can do: a bit for each index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exports {
    dma_buf: u32,
    opaque: u32,
    shm: u32,
}

impl Exports {
    /// Finds out, by asking the driver and, where asking is not enough, by trying.
    ///
    /// # Errors
    /// Those of the calls, but for the refusal of what is tried.
    pub fn probe(device: &Arc<LogicalDevice>) -> Result<Self, AllocateError> {
        let mut exports = Self::default();
        if device.has(Extensions::DMA_BUF) {
            exports.dma_buf = exportable(device, ExportKind::DmaBuf)?;
        }
        // An opaque fd cannot be mapped, but that of llvmpipe can (see `coherd_blob::backing`).
        if device.has(Extensions::MEMORY_FD) && device.facts().llvmpipe {
            exports.opaque = exportable(device, ExportKind::Opaque)?;
        }
        if device.has(Extensions::HOST_MEMORY) {
            exports.shm = shm::probe(device)?;
        }
        Ok(exports)
    }

    /// The best way to export memory of type `ty`, if there is one.
    pub fn best(&self, ty: &TypeFacts, need: ExportNeed) -> Option<ExportKind> {
        let visible = ty.properties.contains(MemoryProperties::HOST_VISIBLE);
        let can_be_mapped =
            visible && matches!(need, ExportNeed::Mappable | ExportNeed::IfPossible);
        [
            (ExportKind::DmaBuf, self.dma_buf, need != ExportNeed::None),
            (ExportKind::Opaque, self.opaque, can_be_mapped),
            (ExportKind::Shm, self.shm, can_be_mapped),
        ]
        .into_iter()
        .find(|(_, types, wanted)| *wanted && allows(*types, ty))
        .map(|(kind, ..)| kind)
    }
}

/// The types whose memory the driver exports as `kind`.
fn exportable(device: &Arc<LogicalDevice>, kind: ExportKind) -> Result<u32, DeviceError> {
    let handle_type = handle_type(kind);
    let features = external_buffers(device.instance(), device.physical(), handle_type, TRANSFERS);
    if !features.contains(vk::ExternalMemoryFeatureFlags::EXPORTABLE) {
        return Ok(0);
    }
    let buffer = Buffer::new(device, 4096, TRANSFERS, handle_type)?;
    Ok(buffer.requirements().types)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CACHED: TypeFacts = TypeFacts {
        index: 1,
        heap: 0,
        properties: MemoryProperties::HOST_VISIBLE.union(MemoryProperties::HOST_CACHED),
    };
    const LOCAL: TypeFacts = TypeFacts {
        index: 0,
        heap: 0,
        properties: MemoryProperties::DEVICE_LOCAL,
    };

    #[test]
    fn dma_bufs_come_before_what_only_maps() {
        let exports = Exports {
            dma_buf: 0b10,
            opaque: 0b11,
            shm: 0b11,
        };
        let best = exports.best(&CACHED, ExportNeed::Mappable);
        assert_eq!(best, Some(ExportKind::DmaBuf));
    }

    #[test]
    fn need_for_a_dma_buf_is_not_met_by_anything_else() {
        let exports = Exports {
            dma_buf: 0,
            opaque: 0b11,
            shm: 0b11,
        };
        assert_eq!(exports.best(&CACHED, ExportNeed::DmaBuf), None);
        assert_eq!(
            exports.best(&CACHED, ExportNeed::Mappable),
            Some(ExportKind::Opaque)
        );
        assert_eq!(exports.best(&CACHED, ExportNeed::None), None);
    }

    #[test]
    fn memory_the_cpu_cannot_map_is_shared_as_dma_buf_alone() {
        let exports = Exports {
            dma_buf: 0b01,
            opaque: 0b11,
            shm: 0b11,
        };
        let best = exports.best(&LOCAL, ExportNeed::Mappable);
        assert_eq!(best, Some(ExportKind::DmaBuf));
        let exports = Exports {
            dma_buf: 0,
            ..exports
        };
        assert_eq!(exports.best(&LOCAL, ExportNeed::Mappable), None);
    }
}
