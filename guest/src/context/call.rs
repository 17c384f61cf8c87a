//! Commands and their replies.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use coherd_protocol::blob_context::command::NO_REPLY;
use coherd_protocol::blob_context::reply::Head;
use coherd_protocol::blob_context::{Status, StreamBuilder};
use thiserror::Error;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::Shared;
use super::replies::SLOT_LEN;
use crate::fence;

/// Why a command has no result.
#[derive(Debug, Error)]
pub enum CallError {
    /// The kernel did not take the command.
    #[error("the kernel does not take the command")]
    Submit(#[source] io::Error),
    /// The wait for the host failed.
    #[error("cannot wait for the host")]
    Wait(#[source] io::Error),
    /// The host did not execute it in time. It may still do so.
    #[error("no answer from the host within {} s", .0.as_secs_f32())]
    TimedOut(Duration),
    /// The host executed it and wrote no reply: it has lost the context, or refuses its commands.
    #[error("the host has lost the context; open another one")]
    Lost,
    /// The host carried it out with this status.
    #[error("the host refuses")]
    Refused(#[source] Status),
    /// The status or the length of the reply are not those of this version.
    #[error("the host's reply has status {status} and {len} bytes, which this version cannot read")]
    Malformed {
        /// Its status.
        status: u32,
        /// Its length with the head.
        len: u32,
    },
}

impl CallError {
    /// The host's status, if it refused.
    #[must_use]
    pub fn status(&self) -> Option<Status> {
        match self {
            Self::Refused(status) => Some(*status),
            _ => None,
        }
    }
}

/// A command that was sent.
#[derive(Debug)]
#[must_use = "a command has failed if its reply says so"]
pub struct Pending {
    shared: Arc<Shared>,
    sequence: u32,
    slot: usize,
    fence: Option<OwnedFd>,
}

/// The reply to a command that was carried out.
#[derive(Clone, Debug)]
pub struct Reply {
    bytes: [u8; SLOT_LEN],
    head: Head,
}

impl Shared {
    /// Sends a command and waits for its reply.
    pub fn call<T>(self: &Arc<Self>, opcode: u32, fixed: &T) -> Result<Reply, CallError>
    where
        T: IntoBytes + Immutable,
    {
        self.start(opcode, fixed, &[0u8; 0])?.wait()
    }

    /// Sends a command that replies.
    pub fn start<T, U>(
        self: &Arc<Self>,
        opcode: u32,
        fixed: &T,
        array: &[U],
    ) -> Result<Pending, CallError>
    where
        T: IntoBytes + Immutable,
        U: IntoBytes + Immutable,
    {
        let sequence = self.next_sequence.fetch_add(1, Ordering::Relaxed);
        let slot = self.replies.take(Instant::now() + self.patience);
        let slot = slot.ok_or(CallError::TimedOut(self.patience))?;
        let place = u32::try_from(slot * SLOT_LEN).unwrap_or(NO_REPLY);
        let mut stream = StreamBuilder::default();
        stream.push(opcode, (place, sequence), fixed, array);
        match self.transport.submit_fenced(stream.bytes()) {
            Ok(fence) => Ok(Pending {
                shared: Arc::clone(self),
                sequence,
                slot,
                fence: Some(fence),
            }),
            Err(error) => {
                self.replies.free(slot);
                Err(CallError::Submit(error))
            }
        }
    }

    /// Sends a command and learns nothing of it. It comes before all that is sent later.
    pub fn post<T>(&self, opcode: u32, fixed: &T) -> Result<(), CallError>
    where
        T: IntoBytes + Immutable,
    {
        let mut stream = StreamBuilder::default();
        stream.push(opcode, (NO_REPLY, 0), fixed, &[0u8; 0]);
        self.transport
            .submit(stream.bytes())
            .map_err(CallError::Submit)
    }
}

impl Pending {
    /// Waits until it was carried out.
    ///
    /// # Errors
    /// [`CallError`]
    pub fn wait(mut self) -> Result<Reply, CallError> {
        let patience = self.shared.patience;
        let done = match &self.fence {
            Some(fence) => fence::wait(fence, patience).map_err(CallError::Wait)?,
            None => true,
        };
        if !done {
            return Err(CallError::TimedOut(patience));
        }
        self.fence = None;
        let mut bytes = [0; SLOT_LEN];
        // The slot is inside the buffer.
        let _ = self.shared.replies.read(self.slot, &mut bytes);
        Reply::new(bytes, self.sequence)
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        match self.fence.take() {
            None => self.shared.replies.free(self.slot),
            Some(fence) => self.shared.replies.abandon(self.slot, fence),
        }
    }
}

impl Reply {
    fn new(bytes: [u8; SLOT_LEN], sequence: u32) -> Result<Self, CallError> {
        let (head, _) = Head::read_from_prefix(&bytes).map_err(|_| CallError::Lost)?;
        let status = head.status.get();
        if status == 0 || head.sequence.get() != sequence {
            return Err(CallError::Lost);
        }
        match Status::from_wire(status) {
            Some(Status::Ok) => Ok(Self { bytes, head }),
            Some(status) => Err(CallError::Refused(status)),
            None => Err(CallError::Malformed {
                status,
                len: head.size.get(),
            }),
        }
    }

    /// The reply with its head, as a structure of the protocol.
    ///
    /// # Errors
    /// [`CallError::Malformed`] if it is shorter.
    pub fn get<T>(&self) -> Result<T, CallError>
    where
        T: FromBytes + KnownLayout + Immutable + Unaligned,
    {
        let len = usize::try_from(self.head.size.get()).unwrap_or(0);
        let reply = self.bytes.get(..len).unwrap_or(&self.bytes);
        match T::read_from_prefix(reply) {
            Ok((reply, _)) => Ok(reply),
            Err(_) => Err(CallError::Malformed {
                status: self.head.status.get(),
                len: self.head.size.get(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use coherd_protocol::blob_context::reply::Allocated;

    fn slot(sequence: u32, status: u32, size: u32) -> [u8; SLOT_LEN] {
        let mut bytes = [0; SLOT_LEN];
        let head = Head {
            sequence: sequence.into(),
            status: status.into(),
            size: size.into(),
            padding: 0.into(),
        };
        bytes[..size_of::<Head>()].copy_from_slice(head.as_bytes());
        bytes
    }

    #[test]
    fn reply_that_is_not_there_or_of_another_command_means_a_lost_context() {
        for bytes in [slot(7, 0, 16), slot(6, 1, 16)] {
            assert!(matches!(Reply::new(bytes, 7), Err(CallError::Lost)));
        }
    }

    #[test]
    fn status_other_than_ok_is_an_error() {
        let error = Reply::new(slot(7, 14, 16), 7).unwrap_err();
        assert_eq!(error.status(), Some(Status::TimedOut));
        let error = Reply::new(slot(7, 99, 16), 7).unwrap_err();
        assert!(matches!(
            error,
            CallError::Malformed {
                status: 99,
                len: 16
            }
        ));
    }

    #[test]
    fn reply_is_not_read_past_its_size() {
        let short = Reply::new(slot(7, 1, 55), 7).unwrap();
        assert!(short.get::<Allocated>().is_err());
        assert!(short.get::<Head>().is_ok());
        for size in [56, 4096, u32::MAX] {
            assert!(
                Reply::new(slot(7, 1, size), 7)
                    .unwrap()
                    .get::<Allocated>()
                    .is_ok()
            );
        }
    }
}
