//! What the device is, given away to be saved and taken to be loaded.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use coherd_protocol::gpu::GpuError;
use coherd_protocol::gpu::limits::CURSOR_SIDE;
use coherd_protocol::gpu::wire::MemEntry;
use coherd_protocol::memory::Access;
use coherd_protocol::state::{
    self, ContentsKind, ContextState, Entry, ResourceFlags, ResourceKind,
};
use zerocopy::FromZeros;

use super::charge::Charge;
use super::context::{Context, Reserved, State as Condition, printable};
use super::display::{Mode, Outputs};
use super::image::Image;
use super::lent::Lent;
use super::quota::{Quota, Scope};
use super::resource::{HostBlob, Kind, Resource};
use super::{Device, Refusal, Stopped};
use crate::device::account::Account;
use crate::memory::{GuestMemory, GuestRanges};
use crate::renderer::{LoadPlace, RendererError, ReplyPlace, SavedContext, Scope as _};
use crate::snapshot::{Piece, Pixels, ResourceState, SnapshotError, State, Store};
use crate::vhost_user::features;
use crate::window::HostWindowError;

/// How many names an error has.
const NAMES: usize = 8;

type Result<T> = std::result::Result<T, SnapshotError>;

/// What of a loaded device has to wait for guest memory and a window.
#[derive(Debug, Default)]
pub struct Pending {
    outputs: Option<Outputs>,
    backings: Vec<(u32, Vec<Entry>)>,
    mappings: Vec<(u32, u64)>,
    contexts: Vec<state::Context>,
    brackets: Vec<state::Bracket>,
}

/// Contexts that have nothing left to do, by their ids.
pub type Quiet = BTreeMap<u32, SavedContext>;

const fn impossible<T>(what: &'static str) -> Result<T> {
    Err(SnapshotError::Impossible(what))
}

impl Device {
    /// Whether everything that the guest has can be saved.
    ///
    /// # Errors
    /// [`SnapshotError::Unsavable`] with what cannot.
    pub fn check_savable(&self) -> Result<()> {
        let mut contexts: Vec<String> = Vec::new();
        for (id, context) in &self.contexts {
            if context.state == Condition::Rendered && !self.renderer.can_save(*id) {
                contexts.push(format!("context {id} ({})", context.name));
            }
        }
        for (id, resource) in &self.resources {
            match &resource.kind {
                Kind::ThreeD { .. } => contexts.push(format!("resource {id} (3D)")),
                Kind::HostBlob(_) if self.renderer.save_blob(*id).is_none() => {
                    contexts.push(format!("resource {id} (a blob)"));
                }
                _ => {}
            }
        }
        match contexts.is_empty() {
            true => Ok(()),
            false => Err(SnapshotError::Unsavable(names(contexts))),
        }
    }

    /// Waits until contexts have nothing left to do.
    ///
    /// # Errors
    /// [`SnapshotError::Busy`] and [`SnapshotError::Renderer`]
    pub fn quiesce(&mut self, patience: Duration) -> Result<Quiet> {
        let until = Instant::now() + patience;
        let (mut quiet, mut busy) = (Quiet::new(), Vec::new());
        for (id, context) in &self.contexts {
            if context.state != Condition::Rendered {
                continue;
            }
            let name = || format!("context {id} ({})", context.name);
            match self.renderer.save_context(*id, until) {
                Ok(saved) => {
                    quiet.insert(*id, saved);
                }
                Err(RendererError::Busy) => busy.push(name()),
                Err(source) => {
                    let what = name();
                    return Err(SnapshotError::Renderer { what, source });
                }
            }
        }
        match busy.is_empty() {
            true => Ok(quiet),
            false => Err(SnapshotError::Busy(names(busy), patience)),
        }
    }

    /// What the device is, and the memory of it; the queues and the events are not its own.
    /// [`Device::take_back`] has to follow.
    ///
    /// # Errors
    /// [`SnapshotError::Busy`] if fences are pending, and [`SnapshotError::Unsavable`]
    pub fn capture(&mut self, mut quiet: Quiet) -> Result<(State, Vec<Piece>)> {
        if !self.fences.is_empty() {
            let what = format!("{} commands", self.fences.len());
            return Err(SnapshotError::Busy(what, Duration::ZERO));
        }
        let mut state = State::default();
        let mut pieces = Vec::new();
        state.device.blob_alignment = u32::try_from(self.blob_alignment).unwrap_or(0).into();
        state.device.window_size = self.window.size().into();
        state.device.outputs = number(self.config.outputs.count());
        let displays = state.device.displays.iter_mut();
        for (display, mode) in displays.zip(self.config.outputs.iter()) {
            display.width = mode.map_or(0, Mode::width).into();
            display.height = mode.map_or(0, Mode::height).into();
        }
        for (index, scanout) in (0u32..).zip(&self.scanouts) {
            state.scanouts.push(scanout.save(index));
        }
        for (index, cursor) in (0u32..).zip(&self.cursors) {
            state.cursors.push(cursor.save(index));
        }
        let mut ids: Vec<u32> = self.resources.keys().copied().collect();
        ids.sort_unstable();
        for id in &ids {
            self.capture_resource(*id, &mut state, &mut pieces)?;
        }
        let mut ids: Vec<u32> = self.contexts.keys().copied().collect();
        ids.sort_unstable();
        for id in &ids {
            let saved = quiet.remove(id).unwrap_or_default();
            self.capture_context(*id, saved, &mut state, &mut pieces);
        }
        let bytes = pieces.iter_mut().map(Piece::size);
        state.device.bytes = bytes.fold(0, u64::saturating_add).into();
        Ok((state, pieces))
    }

    fn capture_resource(
        &mut self,
        id: u32,
        state: &mut State,
        pieces: &mut Vec<Piece>,
    ) -> Result<()> {
        let Some(resource) = self.resources.get_mut(&id) else {
            return Ok(());
        };
        let entries = resource.backing.as_ref();
        let entries: Vec<Entry> = entries.map_or_else(Vec::new, |ranges| ranges.list());
        let mut of = state::Resource {
            id: id.into(),
            entries: number(entries.len()),
            ..state::Resource::new_zeroed()
        };
        let mut flags = ResourceFlags::empty();
        flags.set(ResourceFlags::BACKING, resource.backing.is_some());
        if let Some(uuid) = resource.uuid {
            flags |= ResourceFlags::UUID;
            of.uuid = uuid;
        }
        let unsavable = || SnapshotError::Unsavable(format!("resource {id}"));
        match &mut resource.kind {
            Kind::TwoD(image) => {
                of.kind = ResourceKind::TwoD.to_wire().into();
                of.width = image.width().into();
                of.height = image.height().into();
                of.size = image.size().into();
                pieces.push(Piece {
                    kind: ContentsKind::Image,
                    id,
                    store: Store::Image(Pixels(image.lend())),
                });
            }
            Kind::ThreeD { .. } => return Err(unsavable()),
            Kind::GuestBlob { size } => {
                of.kind = ResourceKind::GuestBlob.to_wire().into();
                of.size = (*size).into();
            }
            Kind::HostBlob(blob) => {
                let saved = self.renderer.save_blob(id).ok_or_else(unsavable)?;
                of.kind = ResourceKind::HostBlob.to_wire().into();
                of.size = blob.size.into();
                of.memory = saved.memory;
                let owner = blob.owner.filter(|owner| {
                    let context = self.contexts.get(&owner.ctx_id);
                    context.is_some_and(|context| context.owner(owner.ctx_id) == *owner)
                });
                of.owner = owner.map_or(0, |owner| owner.ctx_id).into();
                flags.set(ResourceFlags::MAPPABLE, blob.mappable);
                flags.set(ResourceFlags::MAPPED, blob.mapping.is_some());
                of.map_offset = blob.mapping.map_or(0, |mapping| mapping.offset).into();
                pieces.push(Piece {
                    kind: ContentsKind::Blob,
                    id,
                    store: Store::Memory(saved.bytes),
                });
            }
        }
        of.flags = flags.bits().into();
        state.resources.push(ResourceState { of, entries });
        Ok(())
    }

    fn capture_context(
        &self,
        id: u32,
        saved: SavedContext,
        state: &mut State,
        pieces: &mut Vec<Piece>,
    ) {
        let Some(context) = self.contexts.get(&id) else {
            return;
        };
        let condition = match context.state {
            Condition::Inert => ContextState::Inert,
            Condition::Rendered => ContextState::Rendered,
            Condition::Lost => ContextState::Lost,
        };
        let mut of = state::Context {
            id: id.into(),
            state: condition.to_wire().into(),
            capset: context.capset.into(),
            ..state::Context::new_zeroed()
        };
        for (to, from) in of.name.iter_mut().zip(context.name.bytes()) {
            *to = from;
        }
        if let Some(place) = saved.replies {
            of.replies = place.resource_id.into();
            of.replies_offset = place.offset.into();
            of.replies_size = place.size.into();
        }
        state.contexts.push(of);
        let mut resources: Vec<u32> = context.resources.iter().copied().collect();
        resources.sort_unstable();
        let attachment = |resource: u32| state::Attachment {
            context: id.into(),
            resource: resource.into(),
        };
        state
            .attachments
            .extend(resources.into_iter().map(attachment));
        for (blob_id, object) in saved.objects {
            pieces.push(Piece {
                kind: ContentsKind::Object,
                id: u32::try_from(state.objects.len()).unwrap_or(u32::MAX),
                store: Store::Memory(object.bytes),
            });
            state.objects.push(state::Object {
                context: id.into(),
                reserved: 0.into(),
                blob_id: blob_id.into(),
                memory: object.memory,
            });
        }
        state.brackets.extend(saved.brackets);
    }

    /// Takes back what [`Device::capture`] or [`Device::load`] lent.
    pub fn take_back(&mut self, pieces: Vec<Piece>) {
        for piece in pieces {
            if let Store::Image(pixels) = piece.store
                && let Some(resource) = self.resources.get_mut(&piece.id)
                && let Kind::TwoD(image) = &mut resource.kind
            {
                image.take_back(pixels.0);
            }
        }
    }

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
            Kind::HostBlob(blob) if flags.contains(ResourceFlags::MAPPED) => {
                let offset = of.map_offset.get();
                let in_the_way = |(other, start): &(u32, u64)| {
                    let len = self.size_of(*other);
                    *start < offset.saturating_add(size) && offset < start.saturating_add(len)
                };
                let fits = self.window.would_fit(offset, size);
                if !fits || pending.mappings.iter().any(in_the_way) {
                    return impossible("a blob is mapped where it cannot be");
                }
                Some((offset, blob.mapping_charge()))
            }
            _ => None,
        };
        let added = self.add_resource(id, resource);
        added.map_err(|_| SnapshotError::Quota(GpuError::Quota(Quota::Resources.name())))?;
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

    /// The loaded device runs: gives resources their guest memory, maps what was mapped, and gives
    /// contexts back what they had begun. What cannot be had any more is logged, and the guest
    /// finds it missing.
    ///
    /// # Errors
    /// [`Stopped`]; it has to be called again when the device runs again.
    pub fn resume(&mut self, memory: &GuestMemory) -> std::result::Result<(), Stopped> {
        let Some(mut pending) = self.pending.take() else {
            return Ok(());
        };
        if let Some(outputs) = pending.outputs.take() {
            self.config.outputs = outputs;
        }
        for (id, entries) in std::mem::take(&mut pending.backings) {
            self.resume_backing(id, &entries, memory);
        }
        while let Some((id, offset)) = pending.mappings.pop() {
            if self.resume_mapping(id, offset) == Err(Stopped) {
                pending.mappings.push((id, offset));
                self.pending = Some(pending);
                return Err(Stopped);
            }
        }
        for context in &pending.contexts {
            let id = context.id.get();
            let brackets = pending.brackets.iter();
            let brackets: Vec<state::Bracket> = brackets
                .filter(|bracket| bracket.context.get() == id)
                .copied()
                .collect();
            let place = ReplyPlace {
                resource_id: context.replies.get(),
                offset: context.replies_offset.get(),
                size: context.replies_size.get(),
            };
            let resource = self.resources.get(&place.resource_id);
            let memory = resource.and_then(|resource| resource.backing.clone());
            let replies = memory.map(|memory| (place, memory));
            let is_rendered = self
                .contexts
                .get(&id)
                .is_some_and(|context| context.state == Condition::Rendered);
            if is_rendered && let Err(error) = self.renderer.resume_context(id, replies, &brackets)
            {
                self.report(&format_args!("context {id} does not go on: {error}"));
            }
        }
        Ok(())
    }

    fn resume_backing(&mut self, id: u32, entries: &[Entry], memory: &GuestMemory) {
        let list: Vec<MemEntry> = entries
            .iter()
            .map(|entry| MemEntry {
                addr: entry.address,
                length: entry.length,
                padding: 0.into(),
            })
            .collect();
        match (
            GuestRanges::resolve(memory, &list),
            self.resources.get_mut(&id),
        ) {
            (Some(ranges), Some(resource)) => resource.backing = Some(Arc::new(ranges)),
            _ => {
                let count = u64::try_from(entries.len()).unwrap_or(0);
                self.give_back(Charge::vm(Quota::BackingEntries, count));
                self.report(&format_args!("resource {id} has lost its guest memory"));
            }
        }
    }

    fn resume_mapping(&mut self, id: u32, offset: u64) -> std::result::Result<(), Stopped> {
        let Some(resource) = self.resources.get_mut(&id) else {
            return Ok(());
        };
        let Kind::HostBlob(blob) = &mut resource.kind else {
            return Ok(());
        };
        let Some(record) = &blob.record else {
            return Ok(());
        };
        match self.window.map(offset, record.backing()) {
            Ok(mapping) => {
                record.note_mapped();
                blob.mapping = Some(mapping);
            }
            Err(HostWindowError::Stopped) => return Err(Stopped),
            Err(error) => {
                let charge = blob.mapping_charge();
                self.give_back(charge);
                self.report(&format_args!(
                    "resource {id} is not mapped again, and its guest reads garbage: {error:?}"
                ));
            }
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

fn number(len: usize) -> zerocopy::little_endian::U32 {
    u32::try_from(len).unwrap_or(u32::MAX).into()
}

/// Names in order, the first few of them.
fn names(mut all: Vec<String>) -> String {
    all.sort();
    let more = all.len().saturating_sub(NAMES);
    all.truncate(NAMES);
    let list = all.join(", ");
    match more {
        0 => list,
        more => format!("{list} and {more} more"),
    }
}
