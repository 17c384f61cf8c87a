//! Memory that a context has allocated: an object until a resource is made from it, then a blob.

use std::fmt;
use std::ops::Range;
use std::ptr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use coherd_blob::{Access, Holder, MapInfo, MemoryProperties};
use coherd_protocol::blob_context::limits::MAX_HOLDERS;
use coherd_protocol::blob_context::reply::{self, HolderKind, Ledger, MemoryFlags};
use zerocopy::FromZeros;

use super::gpu::{Gpu, Memory, Work, WorkError};
use super::status::of_work;
use crate::coherence::{AccessError, BlobRecord, DeviceMemory, Held, ImageInfo, Patience};

/// DRM_FORMAT_MOD_LINEAR
const MODIFIER_LINEAR: u64 = 0;

/// See the module's description.
pub struct Blob<G: Gpu> {
    /// Its memory.
    pub memory: Arc<BlobMemory<G>>,
    /// Bytes of the resource that is made from it, in whole pages.
    pub size: u64,
    /// What the GPU does with it, as ALLOCATE or IMAGE had it.
    pub usage: u32,
    /// What image it is, if it is one.
    pub image: Option<ImageInfo>,
    /// Its file, if others can map it.
    pub record: Option<Arc<BlobRecord>>,
}

impl<G: Gpu> Blob<G> {
    /// Whether the GPU can move its bytes as those of a buffer.
    pub fn is_bytes(&self) -> bool {
        let modifier = self.image.map(|image| image.layout.modifier.get());
        modifier.is_none_or(|modifier| modifier == MODIFIER_LINEAR)
    }

    /// What the guest is told of its memory.
    pub fn describe(&self) -> reply::Memory {
        if let Some(record) = &self.record {
            return record.describe();
        }
        let (type_index, properties) = self.memory.memory_type();
        reply::Memory {
            size: self.size.into(),
            type_index: type_index.into(),
            properties: properties.bits().into(),
            flags: MemoryFlags::AGREED.bits().into(),
            ..reply::Memory::new_zeroed()
        }
    }

    /// Who maps it and accesses it.
    pub fn ledger(&self) -> Ledger {
        let mut ledger = Ledger::new_zeroed();
        let held = self.record.as_ref().map(|record| record.held());
        let mut count = 0u32;
        for held in held.iter().flatten() {
            ledger.open = ledger.open.get().saturating_add(held.open).into();
            count += u32::from(enter(&mut ledger, held));
        }
        ledger.holder_count = count.into();
        ledger
    }
}

/// Enters a holder, with others of its kind and type; whether it is the first of them.
fn enter(ledger: &mut Ledger, held: &Held) -> bool {
    let kind = match held.holder {
        Holder::Guest => HolderKind::Guest,
        Holder::Vmm => HolderKind::Vmm,
        Holder::Daemon => HolderKind::Daemon,
        Holder::Peer(_) => HolderKind::Peer,
    } as u32;
    let map_info = held.caching.map_or(0, MapInfo::to_wire);
    let mut places = ledger.holders.iter_mut().take(MAX_HOLDERS);
    let same = |place: &&mut reply::Holder| {
        place.kind.get() == 0 || (place.kind.get() == kind && place.map_info.get() == map_info)
    };
    let Some(place) = places.find(same) else {
        return true;
    };
    let is_first = place.kind.get() == 0;
    place.kind = kind.into();
    place.map_info = map_info.into();
    place.count = place.count.get().saturating_add(held.count).into();
    place.open = place.open.get().saturating_add(held.open).into();
    is_first
}

/// Memory, and what the GPU was given to do with it.
pub struct BlobMemory<G: Gpu> {
    /// The memory.
    pub inner: G::Memory,
    transfers: Mutex<Transfers<G::Work>>,
}

/// Work that may not be done.
struct Transfers<W> {
    reads: Vec<Arc<W>>,
    writes: Vec<Arc<W>>,
}

impl<W: Work> Transfers<W> {
    fn forget_done(&mut self) {
        let is_pending = |work: &Arc<W>| work.wait(Duration::ZERO) == Err(WorkError::NotYet);
        self.reads.retain(is_pending);
        self.writes.retain(is_pending);
    }
}

impl<G: Gpu> BlobMemory<G> {
    /// Memory that the GPU has nothing to do with.
    pub fn new(inner: G::Memory) -> Self {
        let transfers = Mutex::new(Transfers {
            reads: Vec::new(),
            writes: Vec::new(),
        });
        Self { inner, transfers }
    }

    /// Gives the GPU work that writes `to`, and reads `from` if there is such. Who waits for the
    /// GPU finds it as soon as it was given.
    ///
    /// # Errors
    /// That of `give`.
    pub fn give_transfer<E>(
        (from, to): (Option<&Self>, &Self),
        give: impl FnOnce() -> Result<G::Work, E>,
    ) -> Result<Arc<G::Work>, E> {
        let other = from.filter(|from| !ptr::eq(*from, to));
        // Where several threads lock two, they do so in one order.
        let first = other.filter(|from| ptr::from_ref(*from) < ptr::from_ref(to));
        let first = first.map(Self::lock);
        let mut destination = to.lock();
        let mut source = first.or_else(|| other.map(Self::lock));
        let work = Arc::new(give()?);
        destination.forget_done();
        destination.writes.push(Arc::clone(&work));
        if from.is_some() {
            let source = source.as_mut().unwrap_or(&mut destination);
            source.forget_done();
            source.reads.push(Arc::clone(&work));
        }
        Ok(work)
    }

    /// Notes that the work is done, or will never be.
    pub fn end_transfer(&self, work: &Arc<G::Work>) {
        let mut transfers = self.lock();
        transfers.reads.retain(|other| !Arc::ptr_eq(other, work));
        transfers.writes.retain(|other| !Arc::ptr_eq(other, work));
    }

    fn lock(&self) -> MutexGuard<'_, Transfers<G::Work>> {
        self.transfers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl<G: Gpu> fmt::Debug for BlobMemory<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl<G: Gpu> DeviceMemory for BlobMemory<G> {
    fn atom(&self) -> Option<u64> {
        self.inner.atom()
    }

    fn memory_type(&self) -> (u32, MemoryProperties) {
        (self.inner.type_index(), self.inner.allocated().properties)
    }

    fn wait(&self, access: Access, patience: &Patience<'_>) -> Result<(), AccessError> {
        let mut conflicting = self.lock().writes.clone();
        if access.contains(Access::WRITE) {
            conflicting.extend(self.lock().reads.iter().cloned());
        }
        conflicting
            .iter()
            .try_for_each(|work| finish(&**work, patience))
    }

    fn invalidate(&self, range: Range<u64>) -> Result<(), AccessError> {
        self.inner.invalidate(range)
    }

    fn flush(&self, range: Range<u64>) -> Result<(), AccessError> {
        self.inner.flush(range)
    }
}

/// Waits until work is done.
///
/// # Errors
/// See [`AccessError`].
pub fn finish(work: &impl Work, patience: &Patience<'_>) -> Result<(), AccessError> {
    loop {
        // What is done is done, also after the deadline.
        match work.wait(Duration::ZERO) {
            Ok(()) => return Ok(()),
            Err(WorkError::NotYet) => {}
            Err(WorkError::Failed(status)) => return Err(of_work(status)),
        }
        match work.wait(patience.slice()?) {
            Ok(()) => return Ok(()),
            Err(WorkError::NotYet) => {}
            Err(WorkError::Failed(status)) => return Err(of_work(status)),
        }
    }
}
