//! Blobs: which there are, and one that is open.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use coherd_protocol::memory::Access;
use coherd_protocol::sync::wire::{Close, ExportFence, ImportFence, List, ListFlags, Open};
use coherd_protocol::sync::{Kind, reply};

use crate::connection::Connection;
use crate::error::SyncError;
use crate::info::{Entry, Info};
use crate::mapping::Mapping;

/// Blobs that are listed at once, whatever the server says.
const MAX_LISTED: usize = 1 << 20;

impl Connection {
    /// Every blob, in the order of their ids. Those that come and go meanwhile may be there or not.
    ///
    /// # Errors
    /// See [`SyncError`].
    pub fn list(&self) -> Result<Vec<Entry>, SyncError> {
        let mut all = Vec::new();
        let mut after = 0;
        loop {
            let (page, more) = self.list_page(after, 0)?;
            // Ids that do not go up would have no end.
            let last = page.last().map_or(0, |entry| entry.blob);
            all.extend(page);
            if !more || last <= after || all.len() > MAX_LISTED {
                return Ok(all);
            }
            after = last;
        }
    }

    /// Blobs with ids over `after`, at most `limit` of them unless that is 0, and whether there are
    /// more.
    ///
    /// # Errors
    /// See [`SyncError`].
    pub fn list_page(&self, after: u64, limit: u32) -> Result<(Vec<Entry>, bool), SyncError> {
        let list = List {
            after: after.into(),
            limit: limit.into(),
            reserved: 0.into(),
        };
        let answer = self.call(&list)?;
        let entries = reply::entries(&answer.head, &answer.rest)
            .map_err(|error| SyncError::Malformed(Kind::List, error))?;
        let flags = ListFlags::from_bits_truncate(answer.head.flags.get());
        let entries = entries.iter().map(Entry::from).collect();
        Ok((entries, flags.contains(ListFlags::MORE)))
    }

    /// Opens a blob for `access`. A connection has a blob open once.
    ///
    /// # Errors
    /// See [`SyncError`].
    pub fn open(&self, blob: u64, access: Access) -> Result<Blob, SyncError> {
        let open = Open {
            blob: blob.into(),
            access: access.bits().into(),
            reserved: 0.into(),
        };
        let answer = self.call(&open)?;
        let opening = Opening {
            connection: self.clone(),
            blob,
        };
        let file = answer.file.ok_or(SyncError::NoFile(Kind::Open))?;
        let mut info = Info::from(&answer.head);
        // Whatever the answer says: what is not what was asked for must not be relied upon.
        info.blob = blob;
        info.access &= access;
        Ok(Blob(Arc::new(Inner {
            info,
            file,
            opening,
        })))
    }
}

/// An open blob. Clones are the same one; it is closed with the last of them and of its mappings.
#[derive(Clone, Debug)]
pub struct Blob(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    info: Info,
    // Before the opening: who has closed a blob has nothing of it any more.
    file: OwnedFd,
    opening: Opening,
}

/// What OPEN has begun and CLOSE ends.
#[derive(Debug)]
struct Opening {
    connection: Connection,
    blob: u64,
}

impl Blob {
    /// What it is.
    #[must_use]
    pub fn info(&self) -> &Info {
        &self.0.info
    }

    /// Maps it, as it was opened.
    ///
    /// # Errors
    /// [`SyncError::NotMappable`], [`SyncError::File`] for a file that could hurt this process, or
    /// [`SyncError::Map`].
    pub fn map(&self) -> Result<Mapping, SyncError> {
        Mapping::new(self.clone())
    }

    /// A sync file that signals when the GPU has finished what has to be waited for before
    /// `access`. It can be polled. A bracket is needed as well.
    ///
    /// # Errors
    /// See [`SyncError`].
    pub fn export_fence(&self, access: Access) -> Result<OwnedFd, SyncError> {
        let export = ExportFence {
            blob: self.0.info.blob.into(),
            access: access.bits().into(),
            reserved: 0.into(),
        };
        let answer = self.connection().call(&export)?;
        answer.file.ok_or(SyncError::NoFile(Kind::ExportFence))
    }

    /// Makes later work of the GPU on it wait for a sync file, whose work does `access`.
    ///
    /// # Errors
    /// See [`SyncError`].
    pub fn import_fence(&self, fence: impl AsFd, access: Access) -> Result<(), SyncError> {
        let import = ImportFence {
            blob: self.0.info.blob.into(),
            access: access.bits().into(),
            reserved: 0.into(),
        };
        self.connection().call_with(&import, fence.as_fd())?;
        Ok(())
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.0.opening.connection
    }
}

impl AsFd for Blob {
    /// Its file, to be handed on. Whoever maps it brackets its own accesses.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.file.as_fd()
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        let blob = self.blob.into();
        self.connection.tell(&Close { blob });
    }
}
