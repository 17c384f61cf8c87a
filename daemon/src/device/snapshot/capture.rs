//! What the device is.

use std::time::Duration;

use coherd_protocol::state::{
    self, ContentsKind, ContextState, Entry, ResourceFlags, ResourceKind,
};
use zerocopy::FromZeros;

use super::{Quiet, Result};
use crate::device::Device;
use crate::device::context::State as Condition;
use crate::device::display::Mode;
use crate::device::resource::Kind;
use crate::renderer::SavedContext;
use crate::snapshot::{Piece, Pixels, ResourceState, SnapshotError, State, Store};

impl Device {
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
}

fn number(len: usize) -> zerocopy::little_endian::U32 {
    u32::try_from(len).unwrap_or(u32::MAX).into()
}
