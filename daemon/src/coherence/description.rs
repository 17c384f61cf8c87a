//! What others are told of a blob.

use coherd_blob::backing::BackingKind as FileKind;
use coherd_blob::ledger::Agreement;
use coherd_blob::{Holder, Ledger, MapInfo};
use coherd_protocol::blob_context::reply::{BackingKind, Memory, MemoryFlags};
use zerocopy::FromZeros;

use super::record::BlobRecord;

impl BlobRecord {
    /// What memory it is.
    pub fn describe(&self) -> Memory {
        let (type_index, properties) = self
            .memory()
            .map(|memory| memory.memory_type())
            .unwrap_or_default();
        let backing = match self.backing().kind() {
            FileKind::DmaBuf => BackingKind::DmaBuf,
            FileKind::Memfd => BackingKind::Memfd,
            FileKind::MemfdWithHeader => BackingKind::MemfdWithHeader,
        };
        let mut memory = Memory {
            size: self.backing().size().into(),
            type_index: type_index.into(),
            properties: properties.bits().into(),
            backing: (backing as u32).into(),
            ..Memory::new_zeroed()
        };
        let mut flags = MemoryFlags::empty();
        flags.set(MemoryFlags::AGREED, self.is_agreed());
        if let Some(types) = self.types() {
            let word = |caching: Option<MapInfo>| caching.map_or(0, MapInfo::to_wire).into();
            flags |= MemoryFlags::MAPPABLE;
            flags.set(MemoryFlags::NEEDS_SYNC, !types.coherent);
            flags.set(MemoryFlags::FD_KNOWN, types.file.is_some());
            flags.set(MemoryFlags::EFFECTIVE_KNOWN, types.effective.is_some());
            memory.map_info = word(Some(types.told));
            memory.fd_map_info = word(types.file);
            memory.effective_map_info = word(types.effective);
        }
        memory.flags = flags.bits().into();
        memory
    }

    /// Whether all who map it do so with one type, as far as is known.
    pub fn is_agreed(&self) -> bool {
        let Some(types) = self.types() else {
            return true;
        };
        let mut known = [types.file, types.effective].into_iter().flatten();
        let agreement = self.lock().ledger.as_ref().map(Ledger::agreement);
        agreement != Some(Agreement::Differ) && known.all(|caching| caching == types.told)
    }

    /// Whether those who map it now do so with its own type.
    pub fn agreement(&self) -> Agreement {
        let guest_differs = self.is_mapped_by_guest()
            && self.types().is_some_and(|types| {
                types
                    .effective
                    .is_some_and(|effective| effective != types.told)
            });
        if guest_differs {
            return Agreement::Differ;
        }
        let state = self.lock();
        state
            .ledger
            .as_ref()
            .map_or(Agreement::Unknown, Ledger::agreement)
    }

    /// Whether the guest has it in its window.
    pub fn is_mapped_by_guest(&self) -> bool {
        let state = self.lock();
        let ledger = state.ledger.as_ref();
        ledger.is_some_and(|ledger| ledger.of(Holder::Guest).next().is_some())
    }

    /// Whether an mmap of the file works.
    pub fn is_file_mappable(&self) -> bool {
        self.types().is_some() || self.backing().mmap_caching().is_some()
    }

    /// Whether accesses through an mmap of the file need brackets, as far as is known.
    pub fn needs_brackets(&self) -> bool {
        let of_exporter = self.backing().exporter().is_dma_buf();
        of_exporter
            || self
                .types()
                .is_none_or(|types| !types.coherent || types.file != Some(types.told))
    }
}
