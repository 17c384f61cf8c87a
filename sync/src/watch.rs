//! Blobs that come and go.

use std::time::{Duration, Instant};

use coherd_protocol::sync::{self, wire};

use crate::connection::Connection;
use crate::error::SyncError;
use crate::info::Entry;

/// What happened to a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It was created.
    Created(Entry),
    /// It was destroyed. Who has it open still has it.
    Destroyed(u64),
    /// This process was too slow, and events are missing here: list again.
    Lost,
}

/// Events of a connection. They end with it.
///
/// Who lists after the watch has begun hears of some blobs twice, but misses none.
#[derive(Debug)]
pub struct Watch {
    connection: Connection,
}

impl Connection {
    /// Begins to watch. A connection has one watch at a time.
    ///
    /// # Errors
    /// [`SyncError::Watched`], and others of [`SyncError`].
    pub fn watch(&self) -> Result<Watch, SyncError> {
        if !self.inbox().watch(true) {
            return Err(SyncError::Watched);
        }
        let watch = Watch {
            connection: self.clone(),
        };
        self.call(&request(true))?;
        Ok(watch)
    }
}

impl Watch {
    /// The next event, or `None` if there is none within `timeout`. With 0 it does not wait: for
    /// loops that poll the connection's socket. They ask until there is none.
    ///
    /// # Errors
    /// [`SyncError::Disconnected`], and others of [`SyncError`].
    pub fn next(&self, timeout: Duration) -> Result<Option<Event>, SyncError> {
        let now = Instant::now();
        let deadline = now.checked_add(timeout).unwrap_or(now);
        let event = self
            .connection
            .wait_for(deadline, |inbox| inbox.take_event())?;
        Ok(event.map(|event| match event {
            sync::Event::Created(entry) => Event::Created((&entry).into()),
            sync::Event::Destroyed(blob) => Event::Destroyed(blob),
            sync::Event::Lost => Event::Lost,
        }))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.connection.inbox().watch(false);
        self.connection.tell(&request(false));
    }
}

fn request(on: bool) -> wire::Watch {
    wire::Watch {
        enable: u32::from(on).into(),
        reserved: 0.into(),
    }
}
