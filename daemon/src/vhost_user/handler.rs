//! Answers to the VMM's requests.
//!
//! Every request is answered without waiting for the device thread, because a VMM may serve
//! nothing else meanwhile. An `Err` ends the connection, so it is kept for requests after which
//! nothing sensible can follow.

use std::fs::File;
use std::io;
use std::sync::Arc;

use coherd_protocol::gpu::Features;
use thiserror::Error;
use tracing::{debug, error, info, warn};
use vhost::vhost_user::message::{
    VhostTransferStateDirection, VhostTransferStatePhase, VhostUserConfigFlags, VhostUserInflight,
    VhostUserLog, VhostUserMemoryRegion, VhostUserProtocolFeatures, VhostUserShMemConfig,
    VhostUserSharedMsg, VhostUserSingleMemoryRegion, VhostUserVringAddrFlags, VhostUserVringState,
};
use vhost::vhost_user::{
    Backend, Error as VhostUserError, GpuBackend, Result, VhostUserBackendReqHandlerMut,
};

use super::back_channel::BackChannel;
use super::features;
use super::memory_table::{ExportedFiles, MemoryTable, MemoryTableError};
use super::ring::Ring;
use super::rings::{NUM_QUEUES, Rings};
use crate::device::config_space::ConfigSpace;
use crate::dirty_log::{DirtyLog, DirtyLogError};
use crate::explain::one_line;
use crate::memory::GuestMemory;
use crate::snapshot::{Direction, SnapshotError, Transfers};

/// Largest number of memory regions with CONFIGURE_MEM_SLOTS, as in vhost-user-backend.
const MAX_MEM_SLOTS: u64 = 509;

/// A request that cannot be carried out.
#[derive(Debug, Error)]
enum HandlerError {
    #[error("feature bits {0:#x} were not offered")]
    Features(u64),
    #[error("queue {0} does not exist or does not take this value")]
    Queue(u32),
    #[error("memory table cannot be used")]
    Memory(#[from] MemoryTableError),
    #[error("writes to guest memory cannot be logged")]
    Log(#[from] DirtyLogError),
    #[error("state is not transferred")]
    State(#[source] SnapshotError),
}

impl From<HandlerError> for VhostUserError {
    fn from(error: HandlerError) -> Self {
        Self::ReqHandlerError(io::Error::other(error))
    }
}

/// What a VMM is told about the device.
#[derive(Clone, Debug)]
pub struct Offer {
    /// Device feature bits.
    pub features: Features,
    /// Configuration space.
    pub config: Arc<ConfigSpace>,
    /// Bytes of the window; a power of two.
    pub window_size: u64,
    /// Offer CONFIGURE_MEM_SLOTS.
    pub memory_slots: bool,
    /// Offer the log of written pages.
    pub dirty_log: bool,
}

/// The requests of one connection.
pub struct Handler {
    offer: Offer,
    rings: Arc<Rings>,
    channel: Arc<BackChannel>,
    memory: MemoryTable,
    /// `None` where it is not offered.
    log: Option<Arc<DirtyLog>>,
    /// `None` where no state is saved or loaded.
    transfers: Option<Arc<Transfers>>,
}

impl Handler {
    /// A handler for a connection that begins.
    pub fn new(
        offer: Offer,
        rings: Arc<Rings>,
        channel: Arc<BackChannel>,
        exported: Arc<ExportedFiles>,
        transfers: Option<Arc<Transfers>>,
    ) -> Self {
        let log = offer.dirty_log.then(Arc::default);
        Self {
            offer,
            rings,
            channel,
            memory: MemoryTable::new(exported, log.clone()),
            log,
            transfers,
        }
    }

    fn transfers(&self) -> Result<&Arc<Transfers>> {
        let none = VhostUserError::InvalidOperation("no device state");
        self.transfers.as_ref().ok_or(none)
    }

    fn offered_features(&self) -> u64 {
        let log = self.log.as_ref().map_or(0, |_| features::LOG_ALL);
        features::virtio(self.offer.features) | log
    }

    fn use_memory(&self, memory: GuestMemory) {
        let log = self.log.as_ref();
        if log.is_some_and(|log| !log.covers(self.memory.end())) {
            warn!("front-end's dirty log is too small for its memory table");
        }
        self.rings.set_memory(memory);
    }

    fn configure(&self, queue: u32, change: impl FnOnce(&mut Ring)) -> Result<()> {
        if self.rings.configure(index(queue), change) {
            Ok(())
        } else {
            Err(HandlerError::Queue(queue).into())
        }
    }
}

fn index(queue: u32) -> usize {
    usize::try_from(queue).unwrap_or(usize::MAX)
}

impl VhostUserBackendReqHandlerMut for Handler {
    // libkrun claims the device at every activation.
    fn set_owner(&mut self) -> Result<()> {
        Ok(())
    }

    fn reset_owner(&mut self) -> Result<()> {
        self.rings.reset();
        Ok(())
    }

    fn reset_device(&mut self) -> Result<()> {
        self.rings.reset();
        Ok(())
    }

    fn get_features(&mut self) -> Result<u64> {
        Ok(self.offered_features())
    }

    fn set_features(&mut self, bits: u64) -> Result<()> {
        let unknown = bits & !self.offered_features();
        if unknown != 0 {
            return Err(HandlerError::Features(unknown).into());
        }
        if let Some(log) = &self.log {
            log.log_all(bits & features::LOG_ALL != 0);
        }
        let bits = bits & !features::LOG_ALL;
        debug!(bits = format_args!("{bits:#x}"), "driver accepted features");
        let event_idx = bits & features::EVENT_IDX != 0;
        // Without protocol features rings have no enable request and start enabled.
        let enable = bits & features::PROTOCOL_FEATURES == 0;
        self.rings.set_features(bits, event_idx, enable);
        Ok(())
    }

    fn set_mem_table(
        &mut self,
        regions: &[VhostUserMemoryRegion],
        files: Vec<File>,
        _postcopy_listening: Option<bool>,
    ) -> Result<Option<Vec<vhost::VhostUserMemoryRegionBase>>> {
        let memory = self
            .memory
            .replace(regions, files)
            .map_err(HandlerError::from)?;
        self.use_memory(memory);
        Ok(None)
    }

    fn set_vring_num(&mut self, queue: u32, num: u32) -> Result<()> {
        self.configure(queue, |ring| ring.set_size(num))
    }

    fn set_vring_addr(
        &mut self,
        queue: u32,
        flags: VhostUserVringAddrFlags,
        descriptor: u64,
        used: u64,
        available: u64,
        log_address: u64,
    ) -> Result<()> {
        let guest = |address| self.memory.guest_address(address);
        let addresses = guest(descriptor)
            .zip(guest(available))
            .zip(guest(used))
            .map(|((descriptor, available), used)| [descriptor, available, used]);
        let wanted = flags.contains(VhostUserVringAddrFlags::VHOST_VRING_F_LOG);
        let log = self.log.clone().filter(|_| wanted);
        self.configure(queue, |ring| {
            ring.set_addresses(addresses);
            ring.set_log(log.map(|log| (log, log_address)));
        })
    }

    fn set_vring_base(&mut self, queue: u32, base: u32) -> Result<()> {
        let base = u16::try_from(base).map_err(|_| HandlerError::Queue(queue))?;
        self.configure(queue, |ring| ring.set_base(base))
    }

    fn get_vring_base(&mut self, queue: u32) -> Result<VhostUserVringState> {
        let position = self
            .rings
            .stop(index(queue))
            .map_err(|_| HandlerError::Queue(queue))?;
        Ok(VhostUserVringState::new(queue, u32::from(position)))
    }

    fn set_vring_kick(&mut self, queue: u8, fd: Option<File>) -> Result<()> {
        let queue = u32::from(queue);
        Ok(self
            .rings
            .set_kick(index(queue), fd)
            .map_err(|_| HandlerError::Queue(queue))?)
    }

    fn set_vring_call(&mut self, queue: u8, fd: Option<File>) -> Result<()> {
        self.configure(queue.into(), |ring| ring.set_call(fd))
    }

    fn set_vring_err(&mut self, _queue: u8, _fd: Option<File>) -> Result<()> {
        Ok(())
    }

    fn get_protocol_features(&mut self) -> Result<VhostUserProtocolFeatures> {
        Ok(features::protocol(
            self.offer.memory_slots,
            self.transfers.is_some(),
            self.offer.dirty_log,
        ))
    }

    fn set_protocol_features(&mut self, bits: u64) -> Result<()> {
        let bits = VhostUserProtocolFeatures::from_bits_truncate(bits);
        info!(?bits, "front-end accepted protocol features");
        self.channel.set_protocol(bits);
        Ok(())
    }

    fn get_queue_num(&mut self) -> Result<u64> {
        Ok(u64::try_from(NUM_QUEUES).unwrap_or(0))
    }

    fn set_vring_enable(&mut self, queue: u32, enable: bool) -> Result<()> {
        Ok(self
            .rings
            .set_enabled(index(queue), enable)
            .map_err(|_| HandlerError::Queue(queue))?)
    }

    fn get_config(
        &mut self,
        offset: u32,
        size: u32,
        _flags: VhostUserConfigFlags,
    ) -> Result<Vec<u8>> {
        Ok(self.offer.config.read(offset, size))
    }

    fn set_config(
        &mut self,
        offset: u32,
        bytes: &[u8],
        _flags: VhostUserConfigFlags,
    ) -> Result<()> {
        self.offer.config.write(offset, bytes);
        Ok(())
    }

    // `peek` took the socket; this one shares it and cannot retract a request.
    fn set_backend_req_fd(&mut self, _backend: Backend) {}

    fn set_gpu_socket(&mut self, _socket: GpuBackend) -> Result<()> {
        debug!("display socket is not used");
        Ok(())
    }

    fn get_shared_object(&mut self, _uuid: VhostUserSharedMsg) -> Result<File> {
        Err(VhostUserError::InvalidOperation("no shared objects"))
    }

    fn get_inflight_fd(
        &mut self,
        _inflight: &VhostUserInflight,
    ) -> Result<(VhostUserInflight, File)> {
        Err(VhostUserError::InvalidOperation("no inflight tracking"))
    }

    fn set_inflight_fd(&mut self, _inflight: &VhostUserInflight, _file: File) -> Result<()> {
        Err(VhostUserError::InvalidOperation("no inflight tracking"))
    }

    fn get_max_mem_slots(&mut self) -> Result<u64> {
        Ok(MAX_MEM_SLOTS)
    }

    fn add_mem_region(
        &mut self,
        region: &VhostUserSingleMemoryRegion,
        file: File,
        _postcopy_listening: Option<bool>,
    ) -> Result<Option<vhost::VhostUserMemoryRegionBase>> {
        let memory = self.memory.add(region, file).map_err(HandlerError::from)?;
        self.use_memory(memory);
        Ok(None)
    }

    fn remove_mem_region(&mut self, region: &VhostUserSingleMemoryRegion) -> Result<()> {
        let memory = self.memory.remove(region).map_err(HandlerError::from)?;
        self.use_memory(memory);
        Ok(())
    }

    fn set_device_state_fd(
        &mut self,
        direction: VhostTransferStateDirection,
        _phase: VhostTransferStatePhase,
        fd: File,
    ) -> Result<Option<File>> {
        let direction = match direction {
            VhostTransferStateDirection::SAVE => Direction::Save,
            VhostTransferStateDirection::LOAD => Direction::Load,
        };
        let begun = self.transfers()?.begin(direction, fd, false);
        begun.map_err(|error| {
            error!("{}", one_line(&error));
            VhostUserError::from(HandlerError::State(error))
        })?;
        Ok(None)
    }

    // The other end of the pipe is closed by now, so that the transfer is about to end.
    fn check_device_state(&mut self) -> Result<()> {
        Ok(self.transfers()?.check().map_err(HandlerError::State)?)
    }

    fn get_shmem_config(&mut self) -> Result<VhostUserShMemConfig> {
        self.channel.set_window_asked();
        Ok(VhostUserShMemConfig::new(1, &[0, self.offer.window_size]))
    }

    fn set_log_base(&mut self, log: &VhostUserLog, file: File) -> Result<()> {
        let none = VhostUserError::InvalidOperation("no dirty log");
        let end = self.memory.end();
        let set = self
            .log
            .as_ref()
            .ok_or(none)?
            .set(file, log.mmap_offset, log.mmap_size, end);
        set.map_err(|error| {
            error!("{}", one_line(&error));
            VhostUserError::from(HandlerError::Log(error))
        })?;
        info!(bytes = log.mmap_size, "front-end logs written pages");
        Ok(())
    }
}
