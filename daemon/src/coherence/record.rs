//! The record of a blob.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use coherd_blob::ledger::LedgerError;
use coherd_blob::{Backing, Holder, Ledger, MapInfo, MemoryType};
use coherd_protocol::blob_context::reply::ImageLayout;
use tracing::debug;

use super::access::{Books, DeviceMemory};
use super::turn::Turn;
use crate::mapping_type::MappingType;

/// A blob of the host that has a file. The device, the renderers that use the blob and whoever
/// serves other processes have the same record.
#[derive(Debug)]
pub struct BlobRecord {
    backing: Backing,
    types: Option<MappingType>,
    memory: Option<Arc<dyn DeviceMemory>>,
    image: Option<ImageInfo>,
    state: Mutex<State>,
    /// Whose actions are carried out.
    turn: Turn,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) books: Books,
    /// `None` for memory that nobody may map.
    pub(super) ledger: Option<Ledger>,
    /// Accesses that have begun.
    open: BTreeMap<Holder, u32>,
}

/// The image that a blob is.
#[derive(Clone, Copy, Debug)]
pub struct ImageInfo {
    /// DRM format.
    pub fourcc: u32,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Modifier and planes.
    pub layout: ImageLayout,
}

/// What somebody has of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Who.
    pub holder: Holder,
    /// How its mappings are cached, where that is known.
    pub caching: Option<MapInfo>,
    /// Mappings.
    pub count: u32,
    /// Accesses that have begun.
    pub open: u32,
}

impl BlobRecord {
    /// The record of a new blob, which the guest may map as `types` has it, or not at all.
    /// `memory` is the blob in the driver of this process, if it has it.
    pub fn new(
        backing: Backing,
        types: Option<MappingType>,
        memory: Option<Arc<dyn DeviceMemory>>,
    ) -> Self {
        let books = Books::new(&backing, memory.as_deref());
        let mut ledger = types.map(|types| {
            Ledger::new(MemoryType {
                caching: types.told,
                coherent: types.coherent,
            })
        });
        let mapped = memory
            .as_deref()
            .is_some_and(|memory| memory.atom().is_some());
        if let (Some(types), Some(ledger), true) = (types, &mut ledger, mapped) {
            // What is flushed and invalidated is mapped here.
            let _ = ledger.map(Holder::Daemon, Some(types.told));
        }
        Self {
            backing,
            types,
            memory,
            image: None,
            state: Mutex::new(State {
                books,
                ledger,
                open: BTreeMap::new(),
            }),
            turn: Turn::default(),
        }
    }

    /// The record of a blob that is an image.
    #[must_use]
    pub fn of_image(self, image: Option<ImageInfo>) -> Self {
        Self { image, ..self }
    }

    /// What image it is, if it is one.
    pub fn image(&self) -> Option<&ImageInfo> {
        self.image.as_ref()
    }

    /// The file.
    pub fn backing(&self) -> &Backing {
        &self.backing
    }

    /// How the guest is told to map it; `None` if it must not.
    pub fn told(&self) -> Option<MapInfo> {
        self.types.map(|types| types.told)
    }

    /// The types of its mappings; `None` if the guest must not map it.
    pub fn types(&self) -> Option<MappingType> {
        self.types
    }

    /// Notes that the VMM maps it for the guest.
    pub fn note_mapped(&self) {
        self.change(|ledger, types| {
            ledger.map(Holder::Guest, Some(types.told))?;
            ledger.map(Holder::Vmm, types.file)
        });
    }

    /// Notes that the guest's mapping is gone, and that of the VMM if it let go of it.
    pub fn note_unmapped(&self, vmm: bool) {
        self.change(|ledger, types| {
            ledger.unmap(Holder::Guest, Some(types.told))?;
            if vmm {
                ledger.unmap(Holder::Vmm, types.file)?;
            }
            Ok(())
        });
    }

    /// Notes that a process of the host may map the file.
    pub fn note_opened(&self, holder: Holder) {
        self.change(|ledger, types| ledger.map(holder, types.file));
    }

    /// Notes that `holder` maps nothing of it any more.
    pub fn note_closed(&self, holder: Holder) {
        self.change(|ledger, _| {
            ledger.release(holder);
            Ok(())
        });
    }

    /// Everybody who maps it or has begun an access.
    pub fn held(&self) -> Vec<Held> {
        let state = self.lock();
        let mut held: Vec<Held> = Vec::new();
        for entry in state.ledger.iter().flat_map(Ledger::iter) {
            held.push(Held {
                holder: entry.holder,
                caching: entry.caching,
                count: entry.count,
                open: 0,
            });
        }
        for (&holder, &open) in &state.open {
            match held.iter_mut().find(|held| held.holder == holder) {
                Some(held) => held.open = open,
                None => held.push(Held {
                    holder,
                    caching: None,
                    count: 0,
                    open,
                }),
            }
        }
        held
    }

    pub(super) fn memory(&self) -> Option<&dyn DeviceMemory> {
        self.memory.as_deref()
    }

    pub(super) fn turn(&self) -> &Turn {
        &self.turn
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Ledger, MappingType) -> Result<(), LedgerError>) {
        let mut state = self.lock();
        if let (Some(ledger), Some(types)) = (&mut state.ledger, self.types)
            && let Err(error) = change(ledger, types)
        {
            debug!(%error, "the ledger of a blob is wrong");
        }
    }
}

impl State {
    /// Notes that `holder` has so many accesses more.
    pub(super) fn count_open(&mut self, holder: Holder, more: i32) {
        let open = self.open.entry(holder).or_default();
        *open = open.saturating_add_signed(more);
        if *open == 0 {
            self.open.remove(&holder);
        }
    }
}
