//! LIST and WATCH

use coherd_protocol::sync::limits::MAX_ENTRIES;
use coherd_protocol::sync::wire::{
    Capabilities, Entry, EntryFlags, List, ListFlags, ListHead, Watch,
};
use zerocopy::IntoBytes;

use super::{Answer, Hub, Result, is_openable};
use crate::coherence::registry::KnownBlob;
use crate::sync::peer::Peer;

impl Peer {
    /// LIST
    pub(super) fn list(&self, hub: &Hub, list: &List) -> Answer {
        let limit = match usize::try_from(list.limit.get()) {
            Ok(0) | Err(_) => MAX_ENTRIES,
            Ok(limit) => limit.min(MAX_ENTRIES),
        };
        let (page, more) = hub.blobs.page(list.after.get(), limit);
        let entries: Vec<Entry> = page.iter().map(|blob| self.entry(blob)).collect();
        let mut flags = ListFlags::empty();
        flags.set(ListFlags::MORE, more);
        let head = ListHead {
            count: u32::try_from(entries.len()).unwrap_or(0).into(),
            flags: flags.bits().into(),
            reserved: 0.into(),
        };
        Answer::body([head.as_bytes(), entries.as_bytes()].concat())
    }

    /// WATCH
    pub(super) fn watch(&mut self, hub: &Hub, watch: &Watch) -> Result {
        self.require(Capabilities::WATCH)?;
        if watch.enable.get() == 0 {
            self.watches = None;
            self.outbox.forget_events();
        } else if self.watches.is_none() {
            self.watches = Some(hub.blobs.follow(true));
        }
        Ok(Answer::done())
    }

    /// A blob as this peer sees it.
    pub fn entry(&self, blob: &KnownBlob) -> Entry {
        let record = blob.of.record.as_deref();
        let mut flags = EntryFlags::empty();
        flags.set(EntryFlags::OPENABLE, is_openable(blob));
        flags.set(EntryFlags::WRITABLE, is_openable(blob) && self.may_write());
        if let Some(record) = record {
            flags.set(EntryFlags::IMAGE, record.image().is_some());
            flags.set(EntryFlags::MAPPED, record.is_mapped_by_guest());
            flags.set(EntryFlags::NEEDS_BRACKETS, record.needs_brackets());
        }
        Entry {
            blob: blob.id.into(),
            size: blob.of.size.into(),
            resource_id: blob.of.resource_id.into(),
            generation: blob.generation.into(),
            context_id: blob.of.context_id.into(),
            flags: flags.bits().into(),
        }
    }
}
