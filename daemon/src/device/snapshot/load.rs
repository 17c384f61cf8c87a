//! The device becomes another.

use std::collections::{HashMap, HashSet};

use coherd_protocol::gpu::GpuError;
use coherd_protocol::gpu::limits::CURSOR_SIDE;
use coherd_protocol::memory::Access;
use coherd_protocol::state::{
    self, ContentsKind, ContextState, Entry, ResourceFlags, ResourceKind,
};

use super::{Pending, Result, impossible};
use crate::device::account::Account;
use crate::device::charge::Charge;
use crate::device::context::{Context, Reserved, State as Condition, printable};
use crate::device::display::{Mode, Outputs};
use crate::device::image::Image;
use crate::device::lent::Lent;
use crate::device::quota::{Quota, Scope};
use crate::device::resource::{HostBlob, Kind, Resource};
use crate::device::{Device, Refusal};
use crate::renderer::{LoadPlace, Scope as _};
use crate::snapshot::{Piece, Pixels, ResourceState, SnapshotError, State, Store};
use crate::vhost_user::features;

impl Device {
    /// Becomes the device of `state`, whose driver accepted `features`, with nothing in its memory
    /// yet. What needs guest memory and a window waits for [`Device::resume`].
    ///
    /// # Errors
    /// See [`SnapshotError`]. [`Device::reset`] has to follow an error.
    pub fn load(&mut self, state: &State, features: u64) -> Result<Vec<Piece>> {
        self.check_likeness(state, features)?;
        self.reset(features);
        let mut pieces = Vec::new();
        let mut pending = Pending {
            outputs: Some(self.displays_of(state)?),
            ..Pending::default()
        };
        for context in &state.contexts {
            self.load_context(context)?;
            pending.contexts.push(*context);
        }
        for resource in &state.resources {
            self.load_resource(resource, &mut pieces, &mut pending)?;
        }
        let mut attached = HashSet::new();
        for attachment in &state.attachments {
            let pair = (attachment.context.get(), attachment.resource.get());
            if !attached.insert(pair) {
                return impossible("a resource is attached twice");
            }
            let done = self.ctx_attach_resource(pair.0, pair.1);
            done.map_err(|error| match error {
                Refusal::Gpu(error @ GpuError::Quota(_)) => error.into(),
                _ => SnapshotError::Impossible("a resource is attached to nothing"),
            })?;
        }
        for (place, object) in (0..).zip(&state.objects) {
            self.load_object(place, object, &mut pieces)?;
        }
        for context in &state.contexts {
            self.check_replies(context, state)?;
        }
        self.check_brackets(&state.brackets)?;
        pending.brackets.clone_from(&state.brackets);
        self.load_scanouts(state)?;
        let bytes = pieces.iter_mut().map(Piece::size);
        if bytes.fold(0, u64::saturating_add) != state.device.bytes.get() {
            return impossible("its memory has another size than it says");
        }
        self.pending = Some(pending);
        Ok(pieces)
    }

    fn check_likeness(&self, state: &State, driver: u64) -> Result<()> {
        let device = &state.device;
        let unlike = |what, theirs: u64, ours: u64, option| {
            Err(SnapshotError::Unlike {
                what,
                theirs: theirs.to_string(),
                ours: ours.to_string(),
                option,
            })
        };
        let offered = features::virtio(self.config.features);
        if driver & !offered != 0 {
            return Err(SnapshotError::Unlike {
                what: "features",
                theirs: format!("{driver:#x}"),
                ours: format!("{offered:#x}"),
                option: "the --renderer that it was saved with",
            });
        }
        let (theirs, ours) = (device.window_size.get(), self.window.size());
        if theirs != ours {
            return unlike("a window of", theirs, ours, "the same --window-size");
        }
        let theirs = u64::from(device.blob_alignment.get());
        if theirs != self.blob_alignment {
            let option = "pages of the same size on the host";
            return unlike("a blob alignment of", theirs, self.blob_alignment, option);
        }
        let theirs = u64::from(device.outputs.get());
        let ours = u64::try_from(self.config.outputs.count()).unwrap_or(0);
        if theirs != ours {
            return unlike("outputs:", theirs, ours, "as many --outputs");
        }
        Ok(())
    }

    fn displays_of(&self, state: &State) -> Result<Outputs> {
        let count = self.config.outputs.count();
        let mut modes = Vec::new();
        let mut is_over = false;
        for (index, display) in state.device.displays.iter().enumerate() {
            let sides = (display.width.get(), display.height.get());
            if sides == (0, 0) {
                is_over = true;
                continue;
            }
            // They are on the first outputs.
            if is_over || index >= count {
                return impossible("a display is on no output");
            }
            let mode = Mode::new(sides.0, sides.1);
            modes.push(mode.map_err(|_| SnapshotError::Impossible("a display has no such size"))?);
        }
        let outputs = Outputs::new(count, &modes);
        outputs.map_err(|_| SnapshotError::Impossible("there are too many displays"))
    }

    fn load_context(&mut self, saved: &state::Context) -> Result<()> {
        let (id, capset) = (saved.id.get(), saved.capset.get());
        if id == 0 || self.contexts.contains_key(&id) {
            return impossible("two contexts have one id");
        }
        let name = printable(&saved.name);
        let condition = ContextState::from_wire(saved.state.get());
        let condition = match condition {
            Some(ContextState::Inert) if capset == 0 => Condition::Inert,
            Some(ContextState::Rendered) if capset != 0 => Condition::Rendered,
            Some(ContextState::Lost) => Condition::Lost,
            _ => return impossible("a context has no such state"),
        };
        self.books.take(Quota::Contexts, 1, None)?;
        if condition == Condition::Rendered {
            let created = self.renderer.create_context(id, capset, &name);
            created.map_err(|source| SnapshotError::Renderer {
                what: format!("context {id} ({name})"),
                source,
            })?;
            // Nothing but blob contexts is saved.
            if !self.renderer.can_save(id) {
                self.renderer.destroy_context(id);
                return impossible("a context is of a kind that cannot be saved");
            }
        }
        self.serial += 1;
        let context = Context {
            state: condition,
            name,
            capset,
            serial: self.serial,
            resources: HashSet::new(),
            account: Account::default(),
            reserved: Reserved::default(),
        };
        self.contexts.insert(id, context);
        Ok(())
    }

    fn load_resource(
        &mut self,
        saved: &ResourceState,
        pieces: &mut Vec<Piece>,
        pending: &mut Pending,
    ) -> Result<()> {
        let of = &saved.of;
        let (id, size) = (of.id.get(), of.size.get());
        if id == 0 || self.resources.contains_key(&id) {
            return impossible("two resources have one id");
        }
        let flags = ResourceFlags::from_bits(of.flags.get());
        let flags = flags.ok_or(SnapshotError::Impossible("a resource has unknown flags"))?;
        let kind = ResourceKind::from_wire(of.kind.get());
        let kind = kind.ok_or(SnapshotError::Impossible("a resource is of no known kind"))?;
        let of_host = ResourceFlags::MAPPABLE | ResourceFlags::MAPPED;
        if kind != ResourceKind::HostBlob && flags.intersects(of_host) {
            return impossible("a resource is mapped that cannot be");
        }
        if kind != ResourceKind::TwoD && (size == 0 || !size.is_multiple_of(self.blob_alignment)) {
            return impossible("a blob has no such size");
        }
        self.check(Charge::vm(Quota::Resources, 1))?;
        let needed = match kind {
            ResourceKind::TwoD => 0,
            _ => size,
        };
        let takes_backing = kind != ResourceKind::HostBlob;
        let has_backing = check_entries(flags, &saved.entries, needed, takes_backing)?;
        let at = flags
            .contains(ResourceFlags::MAPPED)
            .then(|| of.map_offset.get());
        // Before the renderer has the blob, which is nobody's if this fails.
        if let Some(offset) = at {
            self.check_place(offset, size, pending)?;
        }
        let made = match kind {
            ResourceKind::TwoD => self.load_image(of, pieces)?,
            ResourceKind::GuestBlob => Kind::GuestBlob { size },
            ResourceKind::HostBlob => Kind::HostBlob(self.load_blob(of, flags, pieces)?),
        };
        let mut resource = Resource::new(made);
        if flags.contains(ResourceFlags::UUID) {
            resource.uuid = Some(of.uuid);
        }
        let mapping = match &resource.kind {
            Kind::HostBlob(blob) => at.map(|offset| (offset, blob.mapping_charge())),
            _ => None,
        };
        if self.add_resource(id, resource).is_err() {
            self.renderer.destroy_resource(id);
            let quota = GpuError::Quota(Quota::Resources.name());
            return Err(SnapshotError::Quota(quota));
        }
        if let Some((offset, charge)) = mapping {
            self.take(charge)?;
            pending.mappings.push((id, offset));
        }
        if has_backing {
            let count = u64::try_from(saved.entries.len()).unwrap_or(u64::MAX);
            self.take(Charge::vm(Quota::BackingEntries, count))?;
            pending.backings.push((id, saved.entries.clone()));
        }
        if kind != ResourceKind::TwoD {
            self.make_known(of.owner.get(), id, size);
        }
        Ok(())
    }

    fn check_place(&self, offset: u64, size: u64, pending: &Pending) -> Result<()> {
        let in_the_way = |(other, start): &(u32, u64)| {
            let len = self.size_of(*other);
            *start < offset.saturating_add(size) && offset < start.saturating_add(len)
        };
        let fits = self.window.would_fit(offset, size);
        match fits && !pending.mappings.iter().any(in_the_way) {
            true => Ok(()),
            false => impossible("a blob is mapped where it cannot be"),
        }
    }

    fn size_of(&self, id: u32) -> u64 {
        match self.resources.get(&id).map(|resource| &resource.kind) {
            Some(Kind::HostBlob(blob)) => blob.size,
            _ => 0,
        }
    }

    fn load_image(&mut self, of: &state::Resource, pieces: &mut Vec<Piece>) -> Result<Kind> {
        let (width, height) = (of.width.get(), of.height.get());
        let footprint = Image::footprint(width, height);
        let footprint = footprint.ok_or(SnapshotError::Impossible("an image has no such size"))?;
        self.check(Charge::vm(Quota::ImageBytes, footprint))?;
        let image = Image::new(width, height);
        let mut image = image.ok_or(GpuError::OutOf("memory for an image"))?;
        pieces.push(Piece {
            kind: ContentsKind::Image,
            id: of.id.get(),
            store: Store::Image(Pixels(image.lend())),
        });
        Ok(Kind::TwoD(image))
    }

    fn load_blob(
        &mut self,
        of: &state::Resource,
        flags: ResourceFlags,
        pieces: &mut Vec<Piece>,
    ) -> Result<HostBlob> {
        let (id, size) = (of.id.get(), of.size.get());
        if of.memory.size.get() != size {
            return impossible("a blob has another size than its memory");
        }
        let owner = of.owner.get();
        let owner = match owner {
            0 => None,
            owner => match self.contexts.get(&owner) {
                Some(context) => Some(context.owner(owner)),
                None => return impossible("a blob is of no context"),
            },
        };
        let mut blob = HostBlob {
            size,
            shadowed: false,
            owner,
            record: None,
            mappable: flags.contains(ResourceFlags::MAPPABLE),
            mapping: None,
        };
        self.check(blob.charge())?;
        let loaded = self.renderer.load_blob(LoadPlace::Resource(id), &of.memory);
        let loaded = loaded.map_err(|source| SnapshotError::Renderer {
            what: format!("resource {id}"),
            source,
        })?;
        blob.record = loaded.record;
        pieces.push(Piece {
            kind: ContentsKind::Blob,
            id,
            store: Store::Memory(loaded.bytes),
        });
        let told = blob.record.as_ref().and_then(|record| record.told());
        if flags.contains(ResourceFlags::MAPPED) && (told.is_none() || !blob.mappable) {
            self.renderer.destroy_resource(id);
            return impossible("a blob is mapped that cannot be");
        }
        Ok(blob)
    }

    fn load_object(
        &mut self,
        place: u32,
        object: &state::Object,
        pieces: &mut Vec<Piece>,
    ) -> Result<()> {
        let (ctx_id, blob_id) = (object.context.get(), object.blob_id.get());
        let context = self.contexts.get(&ctx_id);
        let is_rendered = context.is_some_and(|context| context.state == Condition::Rendered);
        if !is_rendered || blob_id == 0 {
            return impossible("an object is of no context");
        }
        let mut scope = Lent {
            ctx_id,
            resources: &self.resources,
            contexts: &mut self.contexts,
            books: &mut self.books,
        };
        scope.reserve(object.memory.size.get())?;
        let to = LoadPlace::Object { ctx_id, blob_id };
        let loaded = self.renderer.load_blob(to, &object.memory);
        let loaded = loaded.map_err(|source| SnapshotError::Renderer {
            what: format!("object {blob_id} of context {ctx_id}"),
            source,
        })?;
        pieces.push(Piece {
            kind: ContentsKind::Object,
            id: place,
            store: Store::Memory(loaded.bytes),
        });
        Ok(())
    }

    fn check_replies(&self, saved: &state::Context, state: &State) -> Result<()> {
        let id = saved.replies.get();
        if id == 0 {
            return Ok(());
        }
        let context = self.contexts.get(&saved.id.get());
        let is_attached = context.is_some_and(|context| {
            context.state == Condition::Rendered && context.resources.contains(&id)
        });
        let end = saved
            .replies_offset
            .get()
            .checked_add(saved.replies_size.get());
        let of = |resource: &&ResourceState| resource.of.id.get() == id;
        let fits = state.resources.iter().find(of).is_some_and(|resource| {
            let is_guest = resource.of.kind.get() == ResourceKind::GuestBlob.to_wire();
            let len = total(&resource.entries);
            is_guest && end.zip(len).is_some_and(|(end, len)| end <= len)
        });
        match is_attached && fits && saved.replies_offset.get().is_multiple_of(8) {
            true => Ok(()),
            false => impossible("replies go to memory that is not there"),
        }
    }

    fn check_brackets(&mut self, brackets: &[state::Bracket]) -> Result<()> {
        let mut counts: HashMap<u32, u64> = HashMap::new();
        for bracket in brackets {
            let (ctx_id, id) = (bracket.context.get(), bracket.resource.get());
            let context = self.contexts.get(&ctx_id);
            let is_attached = context.is_some_and(|context| {
                context.state == Condition::Rendered && context.resources.contains(&id)
            });
            let size = self.size_of(id);
            let (start, end) = (bracket.start.get(), bracket.end.get());
            let access = Access::from_bits(bracket.access.get());
            let is_access = access.is_some_and(|access| !access.is_empty());
            if !is_attached || !is_access || start >= end || end > size {
                return impossible("an access is to what is not there");
            }
            let count = counts.entry(ctx_id).or_default();
            *count = count.saturating_add(bracket.count.get().into());
        }
        let all = counts
            .values()
            .fold(0u64, |sum, count| sum.saturating_add(*count));
        let limit = |scope| self.config.quotas.get(scope, Quota::Brackets);
        let most = counts.values().copied().max().unwrap_or(0);
        if all > limit(Scope::Vm) || most > limit(Scope::Context) {
            return Err(GpuError::Quota(Quota::Brackets.name()).into());
        }
        Ok(())
    }

    fn load_scanouts(&mut self, state: &State) -> Result<()> {
        for scanout in &state.scanouts {
            let id = scanout.resource.get();
            if id != 0 && !self.resources.contains_key(&id) {
                return impossible("a scanout shows nothing that is there");
            }
            let index = usize::try_from(scanout.index.get()).unwrap_or(usize::MAX);
            let place = self.scanouts.get_mut(index);
            let place = place.ok_or(SnapshotError::Impossible("a scanout is on no output"))?;
            place.load(scanout);
        }
        for cursor in &state.cursors {
            let id = cursor.resource.get();
            if id != 0 && !self.resources.contains_key(&id) {
                return impossible("a cursor shows nothing that is there");
            }
            let hot = [cursor.hot_x.get(), cursor.hot_y.get()];
            if hot.iter().any(|side| *side >= CURSOR_SIDE) {
                return impossible("a cursor points beside itself");
            }
            let index = usize::try_from(cursor.index.get()).unwrap_or(usize::MAX);
            let place = self.cursors.get_mut(index);
            let place = place.ok_or(SnapshotError::Impossible("a cursor is on no output"))?;
            place.load(cursor);
        }
        Ok(())
    }
}

/// Whether there is guest memory, which has to be so long.
fn check_entries(
    flags: ResourceFlags,
    entries: &[Entry],
    needed: u64,
    takes_any: bool,
) -> Result<bool> {
    let has = flags.contains(ResourceFlags::BACKING);
    let is_empty = |entry: &Entry| entry.length.get() == 0;
    let len = total(entries).filter(|_| !entries.iter().any(is_empty));
    let fits = match (has, len) {
        (false, _) => entries.is_empty(),
        (true, Some(len)) => takes_any && len >= needed,
        (true, None) => false,
    };
    match fits {
        true => Ok(has),
        false => impossible("a resource has no such guest memory"),
    }
}

fn total(entries: &[Entry]) -> Option<u64> {
    let lengths = entries.iter().map(|entry| u64::from(entry.length.get()));
    lengths.into_iter().try_fold(0u64, u64::checked_add)
}
