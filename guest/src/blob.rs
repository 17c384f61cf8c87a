//! A blob that this process has a handle of.

use std::sync::Arc;

use coherd_protocol::blob_context::command::{self, opcode};
use coherd_protocol::blob_context::reply;

use crate::context::{CallError, Shared};
use crate::memory::Memory;
use crate::open_ranges::OpenRanges;
use crate::uapi::BlobHandle;

/// A blob, until its last user is gone.
#[derive(Debug)]
pub(crate) struct Blob {
    pub shared: Arc<Shared>,
    pub handle: BlobHandle,
    pub memory: Memory,
    /// What is between START and END.
    pub open: OpenRanges,
}

impl Blob {
    /// Takes over a handle and asks the host what it is, which also tells whether it is there: the
    /// kernel does not say whether the host made the blob. Asked before the blob is mapped,
    /// because the kernel waits for an answer about the mapping without a limit.
    pub fn adopt(shared: &Arc<Shared>, handle: BlobHandle) -> Result<Self, CallError> {
        let described = describe(shared, handle.resource_id);
        match described {
            Ok(described) => Ok(Self {
                shared: Arc::clone(shared),
                handle,
                memory: Memory::new(&described.memory),
                open: OpenRanges::default(),
            }),
            Err(error) => {
                shared.handles.release(handle);
                Err(error)
            }
        }
    }

    /// Asks the host what it is and who maps it.
    pub fn describe(&self) -> Result<reply::Described, CallError> {
        describe(&self.shared, self.handle.resource_id)
    }

    /// Its length as this process maps it.
    pub fn len(&self) -> usize {
        usize::try_from(self.memory.size).unwrap_or(usize::MAX)
    }
}

impl Drop for Blob {
    fn drop(&mut self) {
        self.shared.handles.release(self.handle);
    }
}

fn describe(shared: &Arc<Shared>, resource_id: u32) -> Result<reply::Described, CallError> {
    let query = command::Query {
        resource_id: resource_id.into(),
        padding: 0.into(),
    };
    shared.call(opcode::QUERY, &query)?.get()
}
