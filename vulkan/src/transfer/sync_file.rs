//! Sync files, by a binary semaphore for each submission.

use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use ash::{khr, vk};

use crate::error::DeviceError;
use crate::logical::LogicalDevice;
use crate::transfer::SyncFileError;

/// A semaphore that a submission signals and that is exported at most once.
#[derive(Debug)]
pub struct SyncSemaphore {
    device: Arc<LogicalDevice>,
    raw: vk::Semaphore,
    exported: Mutex<Option<Exported>>,
}

/// What came out: a file or, where the driver had no need for one, none.
type Exported = Option<OwnedFd>;

impl SyncSemaphore {
    /// A semaphore for one submission; `None` if the device exports no sync files.
    ///
    /// # Errors
    /// That of vkCreateSemaphore.
    pub fn new(device: &Arc<LogicalDevice>) -> Result<Option<Arc<Self>>, DeviceError> {
        if !device.facts().sync_files {
            return Ok(None);
        }
        let mut export = vk::ExportSemaphoreCreateInfo::default()
            .handle_types(vk::ExternalSemaphoreHandleTypeFlags::SYNC_FD);
        let info = vk::SemaphoreCreateInfo::default().push_next(&mut export);
        // SAFETY: the driver exports such semaphores
        // (VUID-VkExportSemaphoreCreateInfo-handleTypes-01124) and the chain lives through the
        // call.
        let raw = device.outcome("vkCreateSemaphore", unsafe {
            device.raw().create_semaphore(&info, None)
        })?;
        Ok(Some(Arc::new(Self {
            device: device.clone(),
            raw,
            exported: Mutex::new(None),
        })))
    }

    /// The handle.
    pub fn raw(&self) -> vk::Semaphore {
        self.raw
    }

    /// The sync file of the submission, which has been made; `None` if it was complete and the
    /// driver made no file.
    ///
    /// # Errors
    /// See [`SyncFileError`].
    pub fn file(&self) -> Result<Option<OwnedFd>, SyncFileError> {
        let mut exported = self.exported.lock().unwrap_or_else(PoisonError::into_inner);
        let fd = match &mut *exported {
            Some(fd) => fd,
            nothing => nothing.insert(self.export()?),
        };
        fd.as_ref()
            .map(|fd| rustix::io::fcntl_dupfd_cloexec(fd, 0))
            .transpose()
            .map_err(SyncFileError::Duplicate)
    }

    /// Takes the payload out of the semaphore, which is unsignaled afterwards.
    fn export(&self) -> Result<Exported, SyncFileError> {
        self.device.ensure_alive()?;
        let functions: &khr::external_semaphore_fd::Device = self
            .device
            .functions()
            .semaphore_fd
            .as_ref()
            .ok_or(SyncFileError::Unsupported)?;
        let info = vk::SemaphoreGetFdInfoKHR::default()
            .semaphore(self.raw)
            .handle_type(vk::ExternalSemaphoreHandleTypeFlags::SYNC_FD);
        // SAFETY: the semaphore is binary, made for this handle type
        // (VUID-VkSemaphoreGetFdInfoKHR-handleType-01132, -03253), its signal was submitted
        // (-03254, -01135), no queue waits on it (-01134), and this happens once.
        let fd = self.device.outcome("vkGetSemaphoreFdKHR", unsafe {
            functions.get_semaphore_fd(&info)
        })?;
        // SAFETY: the driver gives the fd away, if it is one.
        Ok((fd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(fd) }))
    }
}

impl Drop for SyncSemaphore {
    fn drop(&mut self) {
        // SAFETY: the queue keeps the semaphore until its submission is complete
        // (VUID-vkDestroySemaphore-semaphore-05149).
        unsafe { self.device.raw().destroy_semaphore(self.raw, None) };
    }
}
