//! The host-visible window of the running connection: the table of mappings and the VMM that
//! carries them out.
//!
//! The VMM is asked only for what it cannot refuse, because a refusal ends a crosvm VM.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use coherd_blob::{Backing, Mapping, MappingState, Window, WindowError};
use thiserror::Error;
use tracing::warn;

use crate::vhost_user::back_channel::{BackChannel, BackChannelError};
use crate::vhost_user::memory_table::ExportedFiles;

/// Why a mapping was not made or removed.
#[derive(Debug, Error)]
pub enum HostWindowError {
    /// The interval does not fit.
    #[error("interval does not fit the window")]
    Window(#[from] WindowError),
    /// The device was stopped before the VMM took the request. The same request can be made once
    /// it runs again; nothing has changed.
    #[error("device is stopped")]
    Stopped,
    /// The VMM refused or is gone.
    #[error("front-end did not change the window")]
    FrontEnd(#[source] BackChannelError),
}

impl From<BackChannelError> for HostWindowError {
    fn from(error: BackChannelError) -> Self {
        match error {
            BackChannelError::Stopped => Self::Stopped,
            error => Self::FrontEnd(error),
        }
    }
}

/// The VMM, as the window sees it.
pub trait Vmm: Send + Sync {
    /// Maps `len` bytes from `fd_offset` of `fd` at `shm_offset` of the window.
    ///
    /// # Errors
    /// See [`BackChannelError`].
    fn map(
        &self,
        fd: BorrowedFd<'_>,
        fd_offset: u64,
        shm_offset: u64,
        len: u64,
    ) -> Result<(), BackChannelError>;

    /// Removes the mapping of exactly `len` bytes at `shm_offset`.
    ///
    /// # Errors
    /// See [`BackChannelError`].
    fn unmap(&self, shm_offset: u64, len: u64) -> Result<(), BackChannelError>;

    /// Whether a reset of the device removes every mapping.
    fn unmaps_on_reset(&self) -> bool;
}

impl Vmm for BackChannel {
    fn map(
        &self,
        fd: BorrowedFd<'_>,
        fd_offset: u64,
        shm_offset: u64,
        len: u64,
    ) -> Result<(), BackChannelError> {
        Self::map(self, fd, fd_offset, shm_offset, len)
    }

    fn unmap(&self, shm_offset: u64, len: u64) -> Result<(), BackChannelError> {
        Self::unmap(self, shm_offset, len)
    }

    fn unmaps_on_reset(&self) -> bool {
        self.is_vacant() || self.is_qemu()
    }
}

/// See the module's description.
pub struct HostWindow {
    table: Window,
    vmm: Arc<dyn Vmm>,
    exported: Arc<ExportedFiles>,
}

impl HostWindow {
    /// An empty window.
    pub fn new(table: Window, vmm: Arc<impl Vmm + 'static>, exported: Arc<ExportedFiles>) -> Self {
        Self {
            table,
            vmm,
            exported,
        }
    }

    /// Number of mappings the VMM has or may have.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether the VMM has no mapping.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Bytes of the window.
    pub fn size(&self) -> u64 {
        self.table.size()
    }

    /// Whether so many bytes have a place at `offset` once what is stale there is gone.
    pub fn would_fit(&self, offset: u64, len: u64) -> bool {
        self.table.check(offset, len).is_ok()
    }

    /// Maps a blob at `offset`. On success the guest may touch the memory at once.
    ///
    /// # Errors
    /// See [`HostWindowError`].
    pub fn map(&mut self, offset: u64, backing: &Backing) -> Result<Mapping, HostWindowError> {
        let len = backing.size();
        self.table.check(offset, len)?;
        for stale in self.table.in_the_way(offset, len) {
            self.unmap(stale)?;
        }
        self.exported.add(backing.id());
        match self
            .vmm
            .map(backing.as_fd(), backing.data_offset(), offset, len)
        {
            Ok(()) => Ok(self.table.insert(offset, len, backing.id())?),
            Err(error) => {
                self.exported.release(backing.id());
                Err(error.into())
            }
        }
    }

    /// Removes a mapping. When this returns, the guest's accesses do not reach the blob any more.
    ///
    /// # Errors
    /// See [`HostWindowError`].
    pub fn unmap(&mut self, mapping: Mapping) -> Result<(), HostWindowError> {
        match self.vmm.unmap(mapping.offset, mapping.len) {
            Ok(()) => {}
            Err(BackChannelError::Stopped) => return Err(HostWindowError::Stopped),
            Err(error) => {
                warn!(offset = mapping.offset, len = mapping.len, %error, "range is stuck");
                self.table.mark(mapping.offset, MappingState::Stuck);
                return Err(error.into());
            }
        }
        self.table.remove(mapping.offset);
        self.exported.release(mapping.file);
        Ok(())
    }

    /// Whether the VMM drops every mapping when the device is reset.
    pub fn unmaps_on_reset(&self) -> bool {
        self.vmm.unmaps_on_reset()
    }

    /// Follows a reset of the device: QEMU and one that hung up have dropped every mapping, other
    /// VMMs keep them.
    pub fn reset(&mut self) {
        if self.vmm.unmaps_on_reset() {
            for mapping in self.table.iter() {
                self.exported.release(mapping.file);
            }
            self.table.clear();
        } else {
            self.table.mark_all_stale();
        }
    }
}
