//! OPEN and CLOSE

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use coherd_blob::{Access, Exporter};
use coherd_protocol::sync::wire::{Close, Open, OpenFlags, Opened};
use coherd_protocol::sync::{Header, Status, text};
use rustix::io::Errno;
use tracing::debug;
use zerocopy::{FromZeros, IntoBytes};

use super::{Answer, Hub, Refusal, Reply, Result};
use crate::coherence::BlobRecord;
use crate::coherence::registry::KnownBlob;
use crate::sync::limits::MAX_OPEN;
use crate::sync::peer::{OpenBlob, Peer};

impl Peer {
    /// OPEN
    pub(super) fn open(&mut self, hub: &Hub, open: &Open) -> Result {
        let (id, access) = (open.blob.get(), open.access());
        let known = hub.blobs.get(id)?;
        let record = known.of.record.as_ref().ok_or(Status::Unsupported)?;
        if access.contains(Access::WRITE) && !self.may_write() {
            return Err(Status::Denied.into());
        }
        if self.opened.contains_key(&id) {
            return Err(Status::InUse.into());
        }
        if self.opened.len() >= MAX_OPEN {
            return Err(Refusal::over(MAX_OPEN));
        }
        let (file, fd_access) = file_for(record, access)?;
        record.note_opened(self.holder());
        let opened = describe(&known, record, access, fd_access);
        self.opened.insert(
            id,
            OpenBlob {
                known: Arc::clone(&known),
                access,
            },
        );
        Ok(Answer::Now(Reply {
            body: opened.as_bytes().to_vec(),
            file: Some(file),
        }))
    }

    /// CLOSE
    pub(super) fn close(&mut self, hub: &mut Hub, header: &Header, close: &Close) -> Result {
        let id = close.blob.get();
        let opened = self.opened.remove(&id).ok_or(Status::NotOpen)?;
        if let Some(record) = &opened.known.of.record {
            record.note_closed(self.holder());
        }
        let brackets = self.end_where(hub, |held| held.blob() == id);
        if brackets.is_empty() {
            return Ok(Answer::done());
        }
        self.underway = Some(*header);
        hub.end(self.id, brackets);
        Ok(Answer::Later)
    }
}

/// A file for a peer that does `access`, and what the file allows.
fn file_for(
    record: &BlobRecord,
    access: Access,
) -> std::result::Result<(OwnedFd, Access), Refusal> {
    let backing = record.backing();
    let can_be_read_only = !backing.exporter().is_dma_buf();
    if !access.contains(Access::WRITE) && can_be_read_only {
        let file = backing.open_read_only().map_err(|error| {
            debug!(error = %crate::explain::one_line(&error), "no file for a peer that only reads");
            Status::Failed
        })?;
        return Ok((file, Access::READ));
    }
    let file = rustix::io::fcntl_dupfd_cloexec(backing.as_fd(), 3).map_err(out_of_files)?;
    Ok((file, backing.access()))
}

fn out_of_files(errno: Errno) -> Refusal {
    Refusal {
        status: Status::OutOfMemory,
        detail: errno.raw_os_error().unsigned_abs(),
    }
}

fn describe(known: &KnownBlob, record: &BlobRecord, access: Access, fd_access: Access) -> Opened {
    let backing = record.backing();
    let mut flags = OpenFlags::empty();
    flags.set(OpenFlags::MMAP, record.is_file_mappable());
    flags.set(OpenFlags::NEEDS_BRACKETS, record.needs_brackets());
    flags.set(OpenFlags::FENCES, record.has_fences());
    let mut opened = Opened {
        blob: known.id.into(),
        data_offset: backing.data_offset().into(),
        page_size: backing.page_size().into(),
        memory: record.describe(),
        access: access.bits().into(),
        fd_access: fd_access.bits().into(),
        resource_id: known.of.resource_id.into(),
        generation: known.generation.into(),
        context_id: known.of.context_id.into(),
        exporter: text::encode(&exporter_name(backing.exporter())),
        ..Opened::new_zeroed()
    };
    if let Some(image) = record.image() {
        flags |= OpenFlags::IMAGE;
        opened.fourcc = image.fourcc.into();
        opened.width = image.width.into();
        opened.height = image.height.into();
        opened.layout = image.layout;
    }
    opened.flags = flags.bits().into();
    opened
}

/// `exp_name` of a dma-buf, `memfd` of one.
fn exporter_name(exporter: &Exporter) -> String {
    match exporter {
        Exporter::SystemHeap => "system".to_owned(),
        Exporter::HugetlbMemfd => "memfd".to_owned(),
        other => other.to_string(),
    }
}
