//! What the front-end knows about its backend, and the requests that every VMM sends alike.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use vhost::vhost_user::message::FrontendReq;
use vm_memory::GuestAddress;

use super::channel::Channel;
use super::config::{Config, F_PROTOCOL_FEATURES, RamRange, protocol};
use super::display::Display;
use super::error::FrontendError;
use super::event::Event;
use super::log::Log;
use super::memory::{GuestRam, TableRegion};
use super::message::{double_words, u32_at, u64_at, words};
use super::ring::{MAX_QUEUE_SIZE, RING_BYTES, Ring, RingLayout};

/// Entries of the answer to GET_SHMEM_CONFIG.
const SHMEM_REGIONS: usize = 256;

/// SET_VRING_KICK, CALL and ERR with this bit carry no file descriptor.
const NO_FD: u64 = 1 << 8;

/// A connection to a backend.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) config: Config,
    pub(super) channel: Channel,
    pub(super) ram: GuestRam,
    pub(super) rings: Vec<Ring>,
    /// virtio features the backend offers, F_PROTOCOL_FEATURES included.
    pub(super) offered: u64,
    /// Protocol features acknowledged.
    pub(super) protocol: u64,
    /// Shared memory regions, id and size, as the backend told.
    pub(super) shmem: Vec<(u8, u64)>,
    /// The VMM's end of the back channel, until a thread serves it.
    pub(super) back: Option<UnixStream>,
    /// The configuration space as it was last read.
    pub(super) config_space: Vec<u8>,
    /// Regions the backend holds in memory slots.
    pub(super) slots: Vec<TableRegion>,
    /// Whether a reset dropped maps while memory slots held them.
    pub(super) stale_slots: bool,
    /// The display, if the VMM has one.
    pub(super) display: Option<Display>,
    /// Whether the backend has not heard of the driver yet that goes on.
    pub(super) is_new_driver: bool,
}

impl Session {
    pub(super) fn new(
        stream: UnixStream,
        config: Config,
        ram: GuestRam,
        log: Arc<Log>,
    ) -> Result<Self, FrontendError> {
        let rings = set_up_rings(&config)?;
        let display = config.display.then(|| Display::new(Arc::clone(&log)));
        let channel = Channel::new(stream, log, config.timeout);
        Ok(Self {
            config,
            channel,
            ram,
            rings,
            offered: 0,
            protocol: 0,
            shmem: Vec::new(),
            back: None,
            config_space: Vec::new(),
            slots: Vec::new(),
            stale_slots: false,
            display,
            is_new_driver: false,
        })
    }

    /// Sets the rings up anew with `size` descriptors each.
    pub(super) fn set_queue_size(&mut self, size: u16) -> Result<(), FrontendError> {
        self.config.queue_size = size;
        self.rings = set_up_rings(&self.config)?;
        Ok(())
    }

    /// Whether protocol feature `mask` was acknowledged.
    pub(super) fn has(&self, mask: u64) -> bool {
        self.protocol & mask == mask
    }

    /// virtio features as SET_FEATURES carries them.
    pub(super) fn features(&self) -> u64 {
        self.config.acked_features(self.offered) | self.offered & F_PROTOCOL_FEATURES
    }

    /// GET_FEATURES, and GET and SET_PROTOCOL_FEATURES.
    pub(super) fn negotiate(&mut self) -> Result<(), FrontendError> {
        self.offered = self.channel.ask_u64(FrontendReq::GET_FEATURES)?;
        if self.offered & F_PROTOCOL_FEATURES == 0 {
            return Err(FrontendError::Missing("protocol features"));
        }
        let offered = self.channel.ask_u64(FrontendReq::GET_PROTOCOL_FEATURES)?;
        self.protocol = self.config.acked_protocol(offered);
        self.channel.tell(
            FrontendReq::SET_PROTOCOL_FEATURES,
            &self.protocol.to_ne_bytes(),
            &[],
        )
    }

    /// GET_QUEUE_NUM, and the check that the device's queues exist.
    pub(super) fn check_queues(&self) -> Result<(), FrontendError> {
        let available = if self.has(protocol::MQ) {
            self.channel.ask_u64(FrontendReq::GET_QUEUE_NUM)?
        } else {
            1
        };
        if available < u64::from(self.config.queues) {
            return Err(FrontendError::Missing("enough queues"));
        }
        Ok(())
    }

    /// SET_BACKEND_REQ_FD with a fresh socket pair.
    pub(super) fn open_back_channel(&mut self) -> Result<(), FrontendError> {
        let (ours, theirs) = UnixStream::pair().map_err(FrontendError::Connect)?;
        self.channel
            .tell_acked(FrontendReq::SET_BACKEND_REQ_FD, &[], &[theirs.as_fd()])?;
        self.back = Some(ours);
        Ok(())
    }

    /// GET_SHMEM_CONFIG.
    pub(super) fn ask_shmem(&mut self) -> Result<(), FrontendError> {
        let request = FrontendReq::GET_SHMEM_CONFIG;
        let answer = self.channel.ask(request, &[])?;
        let bad = |what| FrontendError::BadAnswer { request, what };
        if answer.len() != 8 + 8 * SHMEM_REGIONS {
            return Err(bad("not 2056 bytes"));
        }
        self.shmem = (0..=u8::MAX)
            .filter_map(|id| Some((id, u64_at(&answer, 8 + 8 * usize::from(id))?)))
            .filter(|(_, size)| *size > 0)
            .collect();
        let told = u32_at(&answer, 0).unwrap_or(0);
        if usize::try_from(told) != Ok(self.shmem.len()) {
            return Err(bad("nregions is not the number of sizes"));
        }
        Ok(())
    }

    /// A request about one ring with one number: NUM, BASE or ENABLE.
    pub(super) fn ring_state(index: usize, value: u32) -> Vec<u8> {
        words(&[u32::try_from(index).unwrap_or(u32::MAX), value])
    }

    /// SET_VRING_ADDR, with the used ring's address in the log.
    pub(super) fn set_ring_addr(
        &self,
        index: usize,
        flags: u32,
        log: u64,
    ) -> Result<(), FrontendError> {
        let layout = self.ring(index)?.layout();
        let addr = |gpa: GuestAddress| {
            if self.has(protocol::GPA_ADDRESSES) {
                Ok(gpa.0)
            } else {
                self.ram.user_addr(gpa)
            }
        };
        let mut payload = Self::ring_state(index, flags);
        payload.extend(double_words(&[
            addr(layout.desc)?,
            addr(layout.used)?,
            addr(layout.avail)?,
            log,
        ]));
        self.channel
            .tell(FrontendReq::SET_VRING_ADDR, &payload, &[])
    }

    /// SET_VRING_KICK, CALL or ERR.
    pub(super) fn set_ring_event(
        &self,
        request: FrontendReq,
        index: usize,
        event: Option<&Event>,
    ) -> Result<(), FrontendError> {
        let flag = if event.is_some() { 0 } else { NO_FD };
        let fds: Vec<BorrowedFd<'_>> = event.iter().map(|event| event.as_fd()).collect();
        let payload = (index as u64 | flag).to_ne_bytes();
        self.channel.tell(request, &payload, &fds)
    }

    /// GET_VRING_BASE, which stops the ring.
    pub(super) fn ring_base(&self, index: usize) -> Result<u16, FrontendError> {
        let request = FrontendReq::GET_VRING_BASE;
        let answer = self.channel.ask(request, &Self::ring_state(index, 0))?;
        let bad = |what| FrontendError::BadAnswer { request, what };
        if u32_at(&answer, 0).map(|told| told as usize) != Some(index) {
            return Err(bad("it is about another ring"));
        }
        u32_at(&answer, 4)
            .and_then(|base| u16::try_from(base).ok())
            .ok_or_else(|| bad("base is not a ring index"))
    }

    /// The payload and the files of SET_MEM_TABLE.
    pub(super) fn set_mem_table(&self, table: &[TableRegion]) -> Result<(), FrontendError> {
        let count = u32::try_from(table.len()).unwrap_or(u32::MAX);
        let mut payload = words(&[count, 0]);
        payload.extend(table.iter().flat_map(TableRegion::to_bytes));
        let fds: Vec<BorrowedFd<'_>> = table.iter().map(|region| region.file.as_fd()).collect();
        self.channel
            .tell_acked(FrontendReq::SET_MEM_TABLE, &payload, &fds)
    }

    /// GET_CONFIG.
    pub(super) fn read_config(
        &self,
        offset: u32,
        size: u32,
        flags: u32,
    ) -> Result<Vec<u8>, FrontendError> {
        let request = FrontendReq::GET_CONFIG;
        let mut payload = words(&[offset, size, flags]);
        payload.resize(payload.len() + size as usize, 0);
        let answer = self.channel.ask(request, &payload)?;
        let bad = |what| FrontendError::BadAnswer { request, what };
        if answer.len() != payload.len() || u32_at(&answer, 4) != Some(size) {
            return Err(bad("it has another size"));
        }
        if u32_at(&answer, 0) != Some(offset) {
            return Err(bad("it has another offset"));
        }
        Ok(answer.get(12..).unwrap_or_default().to_vec())
    }

    /// SET_CONFIG.
    pub(super) fn write_config(&self, offset: u32, bytes: &[u8]) -> Result<(), FrontendError> {
        let size = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let mut payload = words(&[offset, size, 0]);
        payload.extend_from_slice(bytes);
        self.channel
            .tell_acked(FrontendReq::SET_CONFIG, &payload, &[])
    }

    pub(super) fn ring(&self, index: usize) -> Result<&Ring, FrontendError> {
        self.rings
            .get(index)
            .ok_or(FrontendError::Config("no such queue"))
    }
}

fn set_up_rings(config: &Config) -> Result<Vec<Ring>, FrontendError> {
    if !config.queue_size.is_power_of_two() || config.queue_size > MAX_QUEUE_SIZE {
        return Err(FrontendError::Config("queue size"));
    }
    let RamRange { gpa, size } = *config
        .ram
        .first()
        .ok_or(FrontendError::Config("no guest RAM"))?;
    if u64::from(config.queues) * RING_BYTES > size as u64 {
        return Err(FrontendError::Config("no room for the rings"));
    }
    (0..u64::from(config.queues))
        .map(|index| {
            let base = GuestAddress(gpa + index * RING_BYTES);
            Ok(Ring::new(RingLayout::at(base, config.queue_size))?)
        })
        .collect()
}
