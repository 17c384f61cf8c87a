//! The memory that the host writes replies to, in slots.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use coherd_protocol::blob_context::reply;

use super::handles::Handles;
use crate::access::{RangeError, SharedMap};
use crate::fence;
use crate::transport::Transport;
use crate::uapi::BlobHandle;

/// Bytes of a slot; the longest reply has 328.
pub(crate) const SLOT_LEN: usize = 512;

/// Calls that can be out at a time.
const SLOTS: usize = 32;

/// Where the status is in a reply.
const STATUS_OFFSET: usize = std::mem::offset_of!(reply::Head, status);

const _: () = assert!(size_of::<reply::Described>() <= SLOT_LEN);

/// Who has a slot.
#[derive(Debug)]
enum Slot {
    Free,
    Taken,
    /// Nobody waits for its reply any more, which the host may write until this fence.
    Abandoned(OwnedFd),
}

/// The reply buffer. Its blob lives until the file is closed.
#[derive(Debug)]
pub(crate) struct Replies {
    map: SharedMap,
    blob: BlobHandle,
    slots: Mutex<Vec<Slot>>,
    freed: Condvar,
}

impl Replies {
    pub fn new(transport: &dyn Transport, handles: &Handles) -> io::Result<Self> {
        let len = SLOT_LEN * SLOTS;
        let blob = handles.create_guest_blob(u64::try_from(len).unwrap_or(0))?;
        Ok(Self {
            map: transport.map(blob.handle, len)?,
            blob,
            slots: Mutex::new((0..SLOTS).map(|_| Slot::Free).collect()),
            freed: Condvar::new(),
        })
    }

    pub fn resource_id(&self) -> u32 {
        self.blob.resource_id
    }

    pub fn size(&self) -> u64 {
        u64::try_from(self.map.len()).unwrap_or(0)
    }

    /// Takes a slot without a status in it, once there is one.
    pub fn take(&self, deadline: Instant) -> Option<usize> {
        let mut slots = self.lock();
        loop {
            if let Some(slot) = slots.iter_mut().position(is_free) {
                *slots.get_mut(slot)? = Slot::Taken;
                self.map
                    .bytes()
                    .write(slot * SLOT_LEN + STATUS_OFFSET, &[0; 4])
                    .ok()?;
                return Some(slot);
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            let waited = self.freed.wait_timeout(slots, left);
            slots = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Copies from the beginning of a slot.
    pub fn read(&self, slot: usize, out: &mut [u8]) -> Result<(), RangeError> {
        self.map.bytes().read(slot * SLOT_LEN, out)
    }

    /// Gives a slot back that the host does not write any more.
    pub fn free(&self, slot: usize) {
        self.set(slot, Slot::Free);
    }

    /// Gives a slot back that the host may write until the fence.
    pub fn abandon(&self, slot: usize, fence: OwnedFd) {
        self.set(slot, Slot::Abandoned(fence));
    }

    fn set(&self, slot: usize, state: Slot) {
        if let Some(slot) = self.lock().get_mut(slot) {
            *slot = state;
        }
        self.freed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_free(slot: &mut Slot) -> bool {
    match slot {
        Slot::Free => true,
        Slot::Taken => false,
        Slot::Abandoned(fence) => fence::wait(fence, Duration::ZERO).is_ok_and(|done| done),
    }
}
