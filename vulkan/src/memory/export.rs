//! Memory as a file for other processes.

use std::os::fd::{FromRawFd, OwnedFd};

use ash::vk;
use coherd_blob::backing::ExportKind;

use crate::memory::ExportError;
use crate::memory::device_memory::DeviceMemory;

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
