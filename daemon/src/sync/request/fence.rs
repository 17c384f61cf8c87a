//! EXPORT_FENCE and IMPORT_FENCE

use std::os::fd::OwnedFd;
use std::sync::Arc;

use coherd_blob::Access;
use coherd_protocol::sync::request::DETAIL_FILES;
use coherd_protocol::sync::wire::{Capabilities, ExportFence, ImportFence};
use coherd_protocol::sync::{Header, Status};
use rustix::io::Errno;

use super::{Answer, Hub, Refusal, Reply, Result};
use crate::coherence::BlobRecord;
use crate::sync::files::Purpose;
use crate::sync::limits::MAX_FILES;
use crate::sync::peer::Peer;

impl Peer {
    /// EXPORT_FENCE
    pub(super) fn export_fence(&self, hub: &Hub, export: &ExportFence) -> Result {
        self.require(Capabilities::EXPORT_FENCE)?;
        let record = self.opened_for(hub, export.blob.get(), export.access())?;
        let file = record
            .export_fences(export.access())
            .map_err(Refusal::of_fences)?;
        Ok(Answer::Now(Reply {
            body: Vec::new(),
            file: Some(file),
        }))
    }

    /// IMPORT_FENCE, whose file is taken from `files`.
    pub(super) fn import_fence(
        &mut self,
        hub: &Hub,
        (header, import): (&Header, &ImportFence),
        files: &mut Vec<OwnedFd>,
    ) -> Result {
        self.require(Capabilities::IMPORT_FENCE)?;
        let record = self.opened_for(hub, import.blob.get(), import.access())?;
        if files.is_empty() {
            return Err(Refusal::over(MAX_FILES));
        }
        let purpose = Purpose::Fences(record, import.access());
        self.underway = Some(*header);
        hub.use_files(self.id, std::mem::take(files), purpose);
        Ok(Answer::Later)
    }

    /// A blob that there is, and that is open for `access`.
    fn opened_for(
        &self,
        hub: &Hub,
        id: u64,
        access: Access,
    ) -> std::result::Result<Arc<BlobRecord>, Refusal> {
        let opened = self.opened.get(&id).ok_or(Status::NotOpen)?;
        let known = hub.blobs.get(id)?;
        if !opened.access.contains(access) {
            return Err(Status::Denied.into());
        }
        Ok(Arc::clone(known.of.record.as_ref().ok_or(Status::NotOpen)?))
    }
}

impl Refusal {
    /// It came with other files than it has to.
    pub fn of_files() -> Self {
        Self {
            status: Status::Invalid,
            detail: DETAIL_FILES,
        }
    }

    /// The kernel refused a file of fences.
    pub fn of_fences(errno: Errno) -> Self {
        let detail = errno.raw_os_error().unsigned_abs();
        match errno {
            Errno::NOTTY => Status::Unsupported.into(),
            Errno::INVAL => Self::of_files(),
            Errno::NOMEM | Errno::MFILE | Errno::NFILE => Self {
                status: Status::OutOfMemory,
                detail,
            },
            _ => Self {
                status: Status::Failed,
                detail,
            },
        }
    }
}
