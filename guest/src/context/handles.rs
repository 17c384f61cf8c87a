//! GEM handles, counted: the kernel gives a blob that is imported twice one handle, and takes the
//! handle away at the first close.

use std::collections::HashMap;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::transport::Transport;
use crate::uapi::{BlobFlags, BlobHandle};

/// The handles of an open file.
#[derive(Debug)]
pub(crate) struct Handles {
    transport: Arc<dyn Transport>,
    counts: Mutex<HashMap<u32, usize>>,
}

impl Handles {
    pub fn new(transport: Arc<dyn Transport>) -> Self {
        Self {
            transport,
            counts: Mutex::default(),
        }
    }

    /// As [`Transport::create_guest_blob`].
    pub fn create_guest_blob(&self, size: u64) -> io::Result<BlobHandle> {
        self.take(|| self.transport.create_guest_blob(size))
    }

    /// As [`Transport::create_host_blob`].
    pub fn create_host_blob(
        &self,
        blob_id: u64,
        size: u64,
        flags: BlobFlags,
    ) -> io::Result<BlobHandle> {
        self.take(|| self.transport.create_host_blob(blob_id, size, flags))
    }

    /// As [`Transport::import`].
    pub fn import(&self, file: BorrowedFd<'_>) -> io::Result<BlobHandle> {
        self.take(|| self.transport.import(file))
    }

    /// Gives back what one of the others returned.
    pub fn release(&self, blob: BlobHandle) {
        let mut counts = self.lock();
        if let Some(count) = counts.get_mut(&blob.handle) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&blob.handle);
                // Under the lock, since the kernel may give the number to another blob at once.
                self.transport.close(blob.handle);
            }
        }
    }

    fn take(&self, get: impl FnOnce() -> io::Result<BlobHandle>) -> io::Result<BlobHandle> {
        let mut counts = self.lock();
        let blob = get()?;
        *counts.entry(blob.handle).or_insert(0) += 1;
        Ok(blob)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u32, usize>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
