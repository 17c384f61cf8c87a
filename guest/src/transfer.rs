//! Copies and fills by the GPU.

use std::sync::Arc;

use coherd_protocol::blob_context::command::{self, opcode};
use thiserror::Error;
use zerocopy::{Immutable, IntoBytes};

use crate::allocation::Allocation;
use crate::blob::Blob;
use crate::context::{CallError, Context, Pending};

/// Why the GPU did not do it.
#[derive(Debug, Error)]
#[error("cannot {what} on the GPU")]
pub struct TransferError {
    what: &'static str,
    source: CallError,
}

impl TransferError {
    /// The cause.
    #[must_use]
    pub fn call(&self) -> &CallError {
        &self.source
    }
}

/// A part of an allocation.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The allocation.
    pub allocation: &'a Allocation,
    /// Bytes from its start.
    pub offset: u64,
}

impl Allocation {
    /// The part from this byte on.
    #[must_use]
    pub fn at(&self, offset: u64) -> Place<'_> {
        Place {
            allocation: self,
            offset,
        }
    }
}

/// Work that was sent to the GPU. Its allocations live until it is dropped; dropping it does not
/// wait.
#[derive(Debug)]
#[must_use = "wait for it to know that it was done"]
pub struct Submission {
    pending: Pending,
    what: &'static str,
    _blobs: Vec<Arc<Blob>>,
}

impl Submission {
    /// Waits until it is done.
    ///
    /// # Errors
    /// [`TransferError`]
    pub fn wait(self) -> Result<(), TransferError> {
        let what = self.what;
        let done = self.pending.wait();
        done.map(|_| ())
            .map_err(|source| TransferError { what, source })
    }
}

impl Context {
    /// Copies `size` bytes. Ranges in one allocation must not overlap. Both have to be this
    /// context's; see [`Context::import`] for another's.
    ///
    /// # Errors
    /// [`TransferError`] if it cannot be sent.
    pub fn copy(
        &self,
        source: Place<'_>,
        destination: Place<'_>,
        size: u64,
    ) -> Result<Submission, TransferError> {
        let command = command::Copy {
            source: source.allocation.resource_id().into(),
            destination: destination.allocation.resource_id().into(),
            source_offset: source.offset.into(),
            destination_offset: destination.offset.into(),
            size: size.into(),
        };
        self.transfer(
            "copy",
            opcode::COPY,
            &command,
            &[source.allocation, destination.allocation],
        )
    }

    /// Fills `size` bytes with a word. Offset and size are multiples of 4.
    ///
    /// # Errors
    /// [`TransferError`] if it cannot be sent.
    pub fn fill(
        &self,
        destination: Place<'_>,
        size: u64,
        value: u32,
    ) -> Result<Submission, TransferError> {
        let command = command::Fill {
            resource_id: destination.allocation.resource_id().into(),
            value: value.into(),
            offset: destination.offset.into(),
            size: size.into(),
        };
        self.transfer("fill", opcode::FILL, &command, &[destination.allocation])
    }

    fn transfer<T>(
        &self,
        what: &'static str,
        opcode: u32,
        command: &T,
        allocations: &[&Allocation],
    ) -> Result<Submission, TransferError>
    where
        T: IntoBytes + Immutable,
    {
        let pending = self.shared.start(opcode, command, &[0u8; 0]);
        Ok(Submission {
            pending: pending.map_err(|source| TransferError { what, source })?,
            what,
            _blobs: allocations.iter().map(|it| Arc::clone(&it.blob)).collect(),
        })
    }
}
