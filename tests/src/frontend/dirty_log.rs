//! The log of pages that the backend writes: SET_LOG_BASE, VHOST_F_LOG_ALL, VHOST_VRING_F_LOG.

use std::fs::File;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU8, Ordering};

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::io::Errno;
use vhost::vhost_user::message::FrontendReq;
use vm_memory::mmap::MmapRegionError;
use vm_memory::{FileOffset, MmapRegion, VolatileMemory};

use super::Frontend;
use super::config::F_LOG_ALL;
use super::error::FrontendError;
use super::message::double_words;
use super::shared::Shared;

/// VHOST_VRING_F_LOG
const F_LOG: u32 = 1 << 0;

/// Bytes of the smallest file, a page.
const PAGE: u64 = 4096;

/// A log as the VMM has it: a bit for each page of 4096 bytes.
#[derive(Debug)]
pub struct DirtyLog {
    file: File,
    size: u64,
    bits: MmapRegion,
}

impl DirtyLog {
    /// A clean log of `size` bytes.
    ///
    /// # Errors
    /// What memfd_create, ftruncate and mmap report.
    pub fn new(size: u64) -> Result<Self, FrontendError> {
        let file = File::from(memfd_create("dirty-log", MemfdFlags::CLOEXEC)?);
        let len = size.next_multiple_of(PAGE);
        ftruncate(&file, len)?;
        let shared = file.try_clone().map_err(FrontendError::Connect)?;
        let len = usize::try_from(len).map_err(|_| Errno::OVERFLOW)?;
        let bits = MmapRegion::from_file(FileOffset::new(shared, 0), len);
        let bits = bits.map_err(|error| match error {
            MmapRegionError::Mmap(error) => FrontendError::Connect(error),
            _ => FrontendError::Config("dirty log"),
        })?;
        Ok(Self { file, size, bits })
    }

    /// The file.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The pages that were written since the last look, sorted.
    pub fn take(&self) -> Vec<u64> {
        let bytes = (0..self.bits.size()).filter_map(|index| {
            let byte = self.bits.get_atomic_ref::<AtomicU8>(index).ok()?;
            Some((index as u64, byte.swap(0, Ordering::SeqCst)))
        });
        bytes
            .flat_map(|(index, byte)| {
                let set = (0..8).filter(move |bit| byte & 1 << bit != 0);
                set.map(move |bit| index * 8 + bit)
            })
            .collect()
    }
}

/// What the backend is to log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Logging {
    /// Writes to buffers.
    pub buffers: bool,
    /// Writes to used rings, as if the first lay at this address and each other 64 KiB behind the
    /// one before it.
    pub used: Option<u64>,
}

impl Logging {
    /// Bytes from one used ring's address in the log to the next one's.
    pub const STRIDE: u64 = 64 << 10;
}

impl Frontend {
    /// Gives the backend `size` bytes of `file` to log in.
    ///
    /// # Errors
    /// See [`FrontendError`]; a backend that refuses them hangs up.
    pub fn set_log(&self, file: &File, offset: u64, size: u64) -> Result<(), FrontendError> {
        self.shared.settle(self.shared.set_log(file, offset, size))
    }

    /// Starts or stops logging on the running device.
    ///
    /// # Errors
    /// See [`FrontendError`].
    pub fn log_writes(&self, logging: Logging) -> Result<(), FrontendError> {
        self.shared.settle(self.shared.log_writes(logging))
    }
}

impl Shared {
    fn set_log(&self, file: &File, offset: u64, size: u64) -> Result<(), FrontendError> {
        let (_turn, session) = self.enter()?;
        let request = FrontendReq::SET_LOG_BASE;
        let payload = double_words(&[size, offset]);
        session.channel.tell(request, &payload, &[file.as_fd()])?;
        let answer = session.channel.answer(request)?;
        if answer != payload {
            let what = "it is not the request's";
            return Err(FrontendError::BadAnswer { request, what });
        }
        Ok(())
    }

    fn log_writes(&self, logging: Logging) -> Result<(), FrontendError> {
        let (_turn, session) = self.enter()?;
        let log_all = if logging.buffers { F_LOG_ALL } else { 0 };
        let features = (session.features() | log_all).to_ne_bytes();
        session
            .channel
            .tell(FrontendReq::SET_FEATURES, &features, &[])?;
        for (index, place) in (0..session.rings.len()).zip(0..) {
            let address = logging.used.map(|first| first + place * Logging::STRIDE);
            let flag = if address.is_some() { F_LOG } else { 0 };
            session.set_ring_addr(index, flag, address.unwrap_or(0))?;
        }
        // An answer says that all before it was heard.
        session.channel.ask_u64(FrontendReq::GET_FEATURES)?;
        Ok(())
    }
}
