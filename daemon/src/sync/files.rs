//! Files that peers send, used and closed by helpers: a peer may have made one that keeps whoever
//! closes it waiting, such as one of a FUSE file system of its own.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use coherd_blob::Access;

use super::helpers::Job;
use super::jobs::{Done, DoneList};
use super::request::Refusal;
use crate::coherence::BlobRecord;

/// What files are for.
#[derive(Debug)]
pub enum Purpose {
    /// The first is one of fences, whose work does this to a blob.
    Fences(Arc<BlobRecord>, Access),
    /// The peer is told why they are for nothing.
    Nothing(Refusal),
}

/// Uses and closes files of a peer.
#[derive(Debug)]
pub struct FileJob {
    /// The files.
    pub files: Vec<OwnedFd>,
    /// What for.
    pub purpose: Purpose,
    /// Whose they are.
    pub peer: u64,
    /// Where to say that it is done.
    pub done: Arc<DoneList>,
    /// Counts all such jobs.
    pub of_all: Arc<()>,
}

impl Job for FileJob {
    fn run(self) -> Option<Self> {
        let result = match (self.purpose, self.files.first()) {
            (Purpose::Fences(record, access), Some(fences)) => record
                .import_fences(access, fences.as_fd())
                .map_err(Refusal::of_fences),
            (Purpose::Fences(..), None) => Err(Refusal::of_files()),
            (Purpose::Nothing(refusal), _) => Err(refusal),
        };
        drop(self.files);
        drop(self.of_all);
        self.done.add(Done::UsedFiles(self.peer, result));
        None
    }
}
