//! What the guest, the renderer and the window have to look like.

use std::collections::{BTreeMap, BTreeSet};

use coherd_tests::frontend::Flavour;
use coherd_tests::renderer::FileKind;

use crate::Command;

/// First page in the window, and pages.
pub type Place = (u64, u64);

/// A blob.
#[derive(Clone, Copy, Debug)]
pub struct Blob {
    /// Bytes in pages.
    pub pages: u64,
    /// First page in the window, while it is mapped.
    pub page: Option<u64>,
    /// What it is filled with.
    pub byte: Option<u8>,
}

impl Blob {
    /// Where it is mapped.
    pub fn place(&self) -> Option<Place> {
        self.page.map(|page| (page, self.pages))
    }
}

/// What is behind the blob with this number.
pub fn file(id: u32) -> FileKind {
    match id {
        4 => FileKind::Opaque,
        5 => FileKind::Short,
        _ => FileKind::Shm,
    }
}

/// The state of the device, as its guest and its VMM are entitled to see it.
#[derive(Debug)]
pub struct Model {
    flavour: Flavour,
    pub contexts: BTreeSet<u32>,
    pub blobs: BTreeMap<u32, Blob>,
    pub attached: BTreeSet<(u32, u32)>,
    /// Mappings that crosvm kept through a reset.
    stale: BTreeSet<Place>,
}

impl Model {
    /// A device that was not used.
    pub fn new(flavour: Flavour) -> Self {
        Self {
            flavour,
            contexts: BTreeSet::new(),
            blobs: BTreeMap::new(),
            attached: BTreeSet::new(),
            stale: BTreeSet::new(),
        }
    }

    /// Every mapping that the VMM has.
    pub fn window(&self) -> BTreeSet<Place> {
        let live = self.blobs.values().filter_map(Blob::place);
        live.chain(self.stale.iter().copied()).collect()
    }

    /// Executes a command, and returns its response code.
    pub fn execute(&mut self, command: Command) -> u32 {
        let code = self.code(command);
        if code >= 0x1200 {
            return code;
        }
        match command {
            Command::CreateContext(ctx) => drop(self.contexts.insert(ctx)),
            Command::DestroyContext(ctx) => {
                self.contexts.remove(&ctx);
                self.attached.retain(|(attached, _)| *attached != ctx);
            }
            Command::Create(_, id, pages) => {
                let blob = Blob {
                    pages,
                    page: None,
                    byte: None,
                };
                self.blobs.insert(id, blob);
            }
            Command::Unref(id) => {
                self.blobs.remove(&id);
                self.attached.retain(|(_, attached)| *attached != id);
            }
            Command::Map(id, page) => {
                let place = self.place(id, page);
                self.stale.retain(|stale| !overlap(*stale, place));
                self.change(id, |blob| blob.page = Some(page));
            }
            Command::Unmap(id) => self.change(id, |blob| blob.page = None),
            Command::Attach(ctx, id) => drop(self.attached.insert((ctx, id))),
            Command::Detach(ctx, id) => drop(self.attached.remove(&(ctx, id))),
            Command::Fill(_, id, byte) => self.change(id, |blob| blob.byte = Some(byte)),
            Command::Fence(_) => {}
        }
        code
    }

    /// Follows a reset of the device.
    pub fn reset(&mut self) {
        let kept = match self.flavour {
            Flavour::Crosvm => self.window(),
            Flavour::Qemu | Flavour::General | Flavour::Libkrun => BTreeSet::new(),
        };
        *self = Self {
            stale: kept,
            ..Self::new(self.flavour)
        };
    }

    /// Whether a command asks something of the VMM, and only once.
    pub fn asks_vmm(&self, command: Command) -> bool {
        match command {
            Command::Map(id, page) => {
                let place = self.place(id, page);
                self.code(command) == 0x1106
                    && !self.stale.iter().any(|stale| overlap(*stale, place))
            }
            Command::Unmap(id) | Command::Unref(id) => {
                self.blobs.get(&id).is_some_and(|blob| blob.page.is_some())
            }
            _ => false,
        }
    }

    fn code(&self, command: Command) -> u32 {
        let (ctx, id) = match command {
            Command::CreateContext(ctx) if self.contexts.contains(&ctx) => return 0x1204,
            Command::CreateContext(_) => return 0x1100,
            Command::Create(_, id, _) if self.blobs.contains_key(&id) => return 0x1203,
            Command::DestroyContext(ctx) | Command::Create(ctx, ..) | Command::Fence(ctx) => {
                (Some(ctx), None)
            }
            Command::Unref(id) | Command::Map(id, _) | Command::Unmap(id) => (None, Some(id)),
            Command::Attach(ctx, id) | Command::Detach(ctx, id) | Command::Fill(ctx, id, _) => {
                (Some(ctx), Some(id))
            }
        };
        if ctx.is_some_and(|ctx| !self.contexts.contains(&ctx)) {
            return 0x1204;
        }
        if id.is_some_and(|id| !self.blobs.contains_key(&id)) {
            return 0x1203;
        }
        match command {
            Command::Map(id, page) => self.map_code(id, page),
            _ => 0x1100,
        }
    }

    fn map_code(&self, id: u32, page: u64) -> u32 {
        let place = self.place(id, page);
        let mut live = self.blobs.values().filter_map(Blob::place);
        let is_mapped = self.blobs.get(&id).is_some_and(|blob| blob.page.is_some());
        match self.flavour {
            _ if is_mapped || live.any(|live| overlap(live, place)) => 0x1205,
            _ if file(id) == FileKind::Short => 0x1205,
            Flavour::Libkrun => 0x1200,
            Flavour::Qemu | Flavour::General | Flavour::Crosvm => 0x1106,
        }
    }

    fn place(&self, id: u32, page: u64) -> Place {
        (page, self.blobs.get(&id).map_or(0, |blob| blob.pages))
    }

    fn change(&mut self, id: u32, change: impl FnOnce(&mut Blob)) {
        if let Some(blob) = self.blobs.get_mut(&id) {
            change(blob);
        }
    }
}

fn overlap((a, a_pages): Place, (b, b_pages): Place) -> bool {
    a < b + b_pages && b < a + a_pages
}
