//! Accesses between START and END.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use coherd_protocol::blob_context::Status;
use coherd_protocol::blob_context::command::{self, SyncFlags, opcode};
use thiserror::Error;

use crate::access::{Bytes, RangeError};
use crate::blob::Blob;
use crate::context::CallError;
use crate::memory::Access;
use crate::open_ranges::OpenRange;

/// Why memory cannot be accessed.
#[derive(Debug, Error)]
pub enum AccessError {
    /// The range is not inside the mapping.
    #[error(transparent)]
    Range(#[from] RangeError),
    /// This process has a guard for a part of the range, and one of both writes.
    #[error("bytes {} to {} are in use by another guard, or share an atom of {atom} bytes with its range", range.start, range.end)]
    InUse {
        /// The range that was asked for.
        range: Range<usize>,
        /// What the host rounds ranges to.
        atom: u64,
    },
    /// The host did not begin. Nothing may be read or written.
    #[error("cannot begin the access{}", begin_hint(.0))]
    Begin(#[source] CallError),
    /// The host did not end. What was written may not have reached the GPU.
    #[error("cannot end the access")]
    End(#[source] CallError),
}

fn begin_hint(error: &CallError) -> &'static str {
    match error.status() {
        Some(Status::TimedOut) => "; the GPU still uses the memory",
        _ => "",
    }
}

/// What a guard is for.
pub trait Kind: fmt::Debug + private::Sealed {
    /// As the host is told.
    const ACCESS: Access;
}

/// Guards with which one can read.
pub trait Reads: Kind {}

/// Guards with which one can write.
pub trait Writes: Kind {}

/// Reading.
#[derive(Debug)]
pub enum Read {}

/// Writing.
#[derive(Debug)]
pub enum Write {}

/// Reading and writing.
#[derive(Debug)]
pub enum ReadWrite {}

impl Kind for Read {
    const ACCESS: Access = Access::READ;
}

impl Kind for Write {
    const ACCESS: Access = Access::WRITE;
}

impl Kind for ReadWrite {
    const ACCESS: Access = Access::READ.union(Access::WRITE);
}

impl Reads for Read {}
impl Reads for ReadWrite {}
impl Writes for Write {}
impl Writes for ReadWrite {}

mod private {
    pub trait Sealed {}
    impl Sealed for super::Read {}
    impl Sealed for super::Write {}
    impl Sealed for super::ReadWrite {}
}

/// A range that can be read.
pub type ReadGuard<'m> = Guard<'m, Read>;

/// A range that can be written.
pub type WriteGuard<'m> = Guard<'m, Write>;

/// A range that can be read and written.
pub type ReadWriteGuard<'m> = Guard<'m, ReadWrite>;

/// A range of a mapping that may be accessed until the guard ends.
///
/// [`Self::end`] waits for the host and tells whether it worked. A guard that is dropped ends too,
/// before everything that the context sends later, but nobody hears of a failure; another context
/// or process may come first.
#[derive(Debug)]
#[must_use = "the access is over when the guard is dropped"]
pub struct Guard<'m, A: Kind> {
    bytes: Bytes<'m>,
    bracket: Option<Bracket>,
    kind: PhantomData<A>,
}

impl<'m, A: Kind> Guard<'m, A> {
    /// Begins an access to `bytes`, which are those of `range`.
    pub(crate) fn begin(
        blob: &Arc<Blob>,
        bytes: Bytes<'m>,
        range: Range<usize>,
    ) -> Result<Self, AccessError> {
        Ok(Self {
            bytes,
            bracket: Bracket::begin(blob, range, A::ACCESS)?,
            kind: PhantomData,
        })
    }

    /// Its length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether its range is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Whether the host was told, because the memory type asks for it.
    #[must_use]
    pub fn is_bracketed(&self) -> bool {
        self.bracket.is_some()
    }

    /// Where the range is mapped, for other code; valid until the guard ends. See
    /// [`Bytes::as_ptr`].
    #[must_use]
    pub fn as_ptr(&self) -> *mut u8 {
        self.bytes.as_ptr()
    }

    /// Ends the access and waits until the host has done so.
    ///
    /// # Errors
    /// [`AccessError::End`]
    pub fn end(mut self) -> Result<(), AccessError> {
        fence(Ordering::SeqCst);
        match self.bracket.take() {
            Some(bracket) => bracket.end(),
            None => Ok(()),
        }
    }
}

impl<A: Kind> Drop for Guard<'_, A> {
    fn drop(&mut self) {
        // Empties write-combining buffers before anything tells the device.
        fence(Ordering::SeqCst);
    }
}

impl<A: Reads> Guard<'_, A> {
    /// Copies bytes from `offset` on out of the range. Naturally aligned words of 2, 4 and 8 bytes
    /// are copied in one access.
    ///
    /// # Errors
    /// [`RangeError`]
    pub fn copy_to(&self, offset: usize, out: &mut [u8]) -> Result<(), RangeError> {
        self.bytes.read(offset, out)
    }

    /// A copy of the range.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.len()];
        // As long as the range.
        let _ = self.bytes.read(0, &mut bytes);
        bytes
    }
}

impl<A: Writes> Guard<'_, A> {
    /// Copies bytes to the range from `offset` on. Naturally aligned words of 2, 4 and 8 bytes are
    /// copied in one access.
    ///
    /// # Errors
    /// [`RangeError`]
    pub fn copy_from(&mut self, offset: usize, bytes: &[u8]) -> Result<(), RangeError> {
        self.bytes.write(offset, bytes)
    }

    /// Sets every byte of the range.
    pub fn fill(&mut self, byte: u8) {
        self.bytes.fill(byte);
    }
}

/// What the host knows as an access, from START to END: what is inside a [`Guard`]. It ends as a
/// guard does.
#[derive(Debug)]
pub struct Bracket {
    blob: Arc<Blob>,
    command: command::Sync,
    open: OpenRange,
    ended: bool,
}

impl Bracket {
    /// Sends START, if the memory needs it.
    pub(crate) fn begin(
        blob: &Arc<Blob>,
        range: Range<usize>,
        access: Access,
    ) -> Result<Option<Self>, AccessError> {
        // An empty range would mean all of the blob to the host.
        let bracket = match blob.memory.needs_sync && !range.is_empty() {
            true => Some(Self::start(blob, range, access)?),
            false => None,
        };
        fence(Ordering::SeqCst);
        Ok(bracket)
    }

    fn start(blob: &Arc<Blob>, range: Range<usize>, access: Access) -> Result<Self, AccessError> {
        let atom = blob.shared.host.atom_size;
        let bounds = to_u64(range.start)..to_u64(range.end);
        let open = OpenRange::new(bounds.clone(), access.contains(Access::WRITE), atom);
        if !blob.open.open(&open) {
            return Err(AccessError::InUse { range, atom });
        }
        let mut bracket = Self {
            blob: Arc::clone(blob),
            command: command::Sync {
                resource_id: blob.handle.resource_id.into(),
                flags: access.bits().into(),
                offset: bounds.start.into(),
                size: (bounds.end - bounds.start).into(),
                timeout_ms: blob.shared.sync_timeout_ms.into(),
                padding: 0.into(),
            },
            open,
            ended: false,
        };
        match blob.shared.call(opcode::SYNC, &bracket.command) {
            Ok(_) => Ok(bracket),
            Err(error) => {
                // Without a status it may have begun, and is ended when dropped.
                bracket.ended = error.status().is_some();
                Err(AccessError::Begin(error))
            }
        }
    }

    /// Ends the access and waits until the host has done so.
    ///
    /// # Errors
    /// [`AccessError::End`]
    pub fn end(mut self) -> Result<(), AccessError> {
        self.ended = true;
        let ended = self.blob.shared.call(opcode::SYNC, &self.end_command());
        ended.map(|_| ()).map_err(AccessError::End)
    }

    fn end_command(&self) -> command::Sync {
        let flags = self.command.flags.get() | SyncFlags::END.bits();
        command::Sync {
            flags: flags.into(),
            ..self.command
        }
    }
}

impl Drop for Bracket {
    fn drop(&mut self) {
        if !self.ended {
            fence(Ordering::SeqCst);
            let _ = self.blob.shared.post(opcode::SYNC, &self.end_command());
        }
        self.blob.open.close(&self.open);
    }
}

fn to_u64(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
