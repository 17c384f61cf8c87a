//! One bracket: BEGIN when it is made, END when it is dropped.

use std::time::Duration;

use coherd_protocol::memory::Access;
use coherd_protocol::sync::Status;
use coherd_protocol::sync::wire::{Begin, End};

use crate::blob::Blob;
use crate::bytes::Bytes;
use crate::connection::Connection;
use crate::error::SyncError;

/// An open bracket, and the bytes that are inside.
#[derive(Debug)]
pub struct Bracket<'m> {
    bytes: Bytes<'m>,
    access: Access,
    id: u64,
    /// Taken when it has ended.
    connection: Option<Connection>,
}

impl<'m> Bracket<'m> {
    /// Begins an access to `bytes`, which are at `offset` of the blob.
    pub fn begin(
        blob: &Blob,
        bytes: Bytes<'m>,
        offset: usize,
        access: Access,
        timeout: Option<Duration>,
    ) -> Result<Self, SyncError> {
        let connection = blob.connection().clone();
        let wide = |value| u64::try_from(value).unwrap_or(u64::MAX);
        let (timeout_ms, gpu_time) = connection.gpu_time(timeout);
        let id = connection.next_bracket();
        let begin = Begin {
            blob: blob.info().blob.into(),
            bracket: id.into(),
            offset: wide(offset).into(),
            size: wide(bytes.len()).into(),
            access: access.bits().into(),
            timeout_ms: timeout_ms.into(),
        };
        match connection.call_within(&begin, gpu_time) {
            Ok(_) => Ok(Self {
                bytes,
                access,
                id,
                connection: Some(connection),
            }),
            Err(error) => {
                // The server may begin it after all.
                if matches!(error, SyncError::NoAnswer { .. }) {
                    connection.tell(&End { bracket: id.into() });
                }
                Err(error)
            }
        }
    }

    pub fn bytes(&self) -> Bytes<'m> {
        self.bytes
    }

    /// Ends it. Afterwards, what was written is where it belongs.
    pub fn end(mut self) -> Result<(), SyncError> {
        self.connection
            .take()
            .map_or(Ok(()), |connection| end(&connection, self.id))
    }
}

fn end(connection: &Connection, id: u64) -> Result<(), SyncError> {
    match connection.call(&End { bracket: id.into() }) {
        // It is not open, as it should be.
        Err(error) if error.status() == Some(Status::NotOpen) => Ok(()),
        result => result.map(|_| ()),
    }
}

impl Drop for Bracket<'_> {
    /// Ends it. Who has written waits until what was written is where it belongs, as everybody
    /// else will expect; who has read does not wait.
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else {
            return;
        };
        if self.access.contains(Access::WRITE) {
            // Who wants to know calls `end`.
            let _ = end(&connection, self.id);
        } else {
            let bracket = self.id.into();
            connection.tell(&End { bracket });
        }
    }
}
