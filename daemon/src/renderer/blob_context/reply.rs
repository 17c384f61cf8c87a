//! Replies, on their way into the guest's memory.

use std::sync::atomic::{Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use coherd_protocol::blob_context::Status;
use coherd_protocol::blob_context::reply::Head;
use zerocopy::IntoBytes;

use crate::memory::GuestRanges;

/// Where `status` is in a reply's head.
const STATUS_OFFSET: u64 = 4;

/// Guest memory that the guest can take back at any time.
#[derive(Debug)]
pub struct Lease(Mutex<Option<Arc<GuestRanges>>>);

impl Lease {
    /// Memory that the guest has lent.
    pub fn new(memory: Arc<GuestRanges>) -> Self {
        Self(Mutex::new(Some(memory)))
    }

    /// Gives the memory back. Nothing of it is touched once this returns.
    pub fn revoke(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<GuestRanges>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The part of a lease that replies go to.
#[derive(Clone, Debug)]
pub struct ReplyBuffer {
    /// Memory.
    pub lease: Arc<Lease>,
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub size: u64,
}

/// A reply that is to be given, or not.
#[derive(Clone, Debug)]
pub struct Reply {
    sequence: u32,
    to: Option<(ReplyBuffer, u32)>,
}

impl Reply {
    /// The reply to the command of this sequence number, which wants it at `offset` of `buffer`.
    pub fn new(sequence: u32, buffer: Option<&ReplyBuffer>, offset: Option<u32>) -> Self {
        Self {
            sequence,
            to: buffer.cloned().zip(offset),
        }
    }

    /// The same reply in another buffer.
    pub fn in_buffer(self, buffer: &ReplyBuffer, offset: Option<u32>) -> Self {
        Self::new(self.sequence, Some(buffer), offset)
    }

    /// Says how the command ended.
    pub fn give(&self, result: Result<(), Status>) {
        self.give_with(result.map(|()| Vec::new()));
    }

    /// Says how the command ended, with what belongs behind the head.
    pub fn give_with(&self, result: Result<Vec<u8>, Status>) {
        let Some((buffer, offset)) = &self.to else {
            return;
        };
        let (status, body) = match result {
            Ok(body) => (Status::Ok, body),
            Err(status) => (status, Vec::new()),
        };
        let len = size_of::<Head>().saturating_add(body.len());
        let head = Head {
            sequence: self.sequence.into(),
            status: 0.into(),
            size: u32::try_from(len).unwrap_or(u32::MAX).into(),
            padding: 0.into(),
        };
        let bytes = [head.as_bytes(), &body].concat();
        buffer.write(u64::from(*offset), &bytes, status);
    }
}

impl ReplyBuffer {
    /// Writes a reply and then its status, if there is room for it.
    fn write(&self, offset: u64, bytes: &[u8], status: Status) {
        let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let fits = offset
            .checked_add(len)
            .is_some_and(|end| end <= self.size && offset.is_multiple_of(8));
        let memory = self.lease.lock();
        let (Some(memory), true) = (&*memory, fits) else {
            return;
        };
        let start = self.offset.saturating_add(offset);
        if memory.write(start, bytes) {
            // The guest polls for the status.
            fence(Ordering::Release);
            let _ = memory.write(start + STATUS_OFFSET, &status.to_wire().to_le_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use coherd_protocol::gpu::wire::MemEntry;
    use vm_memory::{GuestAddress, GuestMemoryMmap};

    fn buffer() -> (ReplyBuffer, Arc<GuestRanges>) {
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x1000)]).unwrap();
        let entry = MemEntry {
            addr: 0x100.into(),
            length: 0x100.into(),
            padding: 0.into(),
        };
        let ranges = Arc::new(GuestRanges::resolve(&Arc::new(memory), &[entry]).unwrap());
        let buffer = ReplyBuffer {
            lease: Arc::new(Lease::new(Arc::clone(&ranges))),
            offset: 8,
            size: 64,
        };
        (buffer, ranges)
    }

    fn bytes(ranges: &GuestRanges) -> Vec<u8> {
        let mut bytes = vec![0; 0x100];
        assert!(ranges.read(0, &mut bytes));
        bytes
    }

    #[test]
    fn reply_lies_where_it_was_wanted_with_head_and_body() {
        let (buffer, ranges) = buffer();
        let reply = Reply::new(7, Some(&buffer), Some(16));
        reply.give_with(Ok(vec![0xaa; 8]));
        let bytes = bytes(&ranges);
        let words: Vec<u32> = bytes[24..40]
            .chunks(4)
            .map(|word| u32::from_le_bytes(word.try_into().unwrap()))
            .collect();
        assert_eq!(words, [7, 1, 24, 0]);
        assert_eq!(bytes[40..48], [0xaa; 8]);
        assert!(
            bytes[48..]
                .iter()
                .chain(&bytes[..24])
                .all(|byte| *byte == 0)
        );
    }

    #[test]
    fn failed_command_has_no_body() {
        let (buffer, ranges) = buffer();
        Reply::new(1, Some(&buffer), Some(0)).give_with(Err(Status::OverQuota));
        let bytes = bytes(&ranges);
        assert_eq!((bytes[12], bytes[16]), (10, 16));
    }

    #[test]
    fn reply_that_does_not_fit_is_not_written_at_all() {
        let (buffer, ranges) = buffer();
        for offset in [4, 56, 64, u32::MAX - 7] {
            Reply::new(1, Some(&buffer), Some(offset)).give(Ok(()));
        }
        Reply::new(1, Some(&buffer), None).give(Ok(()));
        Reply::new(1, None, Some(0)).give(Ok(()));
        assert!(bytes(&ranges).iter().all(|byte| *byte == 0));
    }

    #[test]
    fn memory_that_was_taken_back_is_not_touched() {
        let (buffer, ranges) = buffer();
        let reply = Reply::new(1, Some(&buffer), Some(0));
        buffer.lease.revoke();
        reply.give(Ok(()));
        assert!(bytes(&ranges).iter().all(|byte| *byte == 0));
    }
}
